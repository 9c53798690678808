//! From a topic to its subscribers: a tree of filter levels.
//!
//! Nodes live in one slab and know their parent; one hash table finds a child by (parent, level). `+` and `#` children are
//! fields of the node, so that a look-up asks the table once a level. A subscriber's filters are listed by its key, so that
//! it can be removed without a search. The depth of the tree, and with it the work and the stack of a look-up, is bounded by
//! the levels that a filter may have, however deep the topic.

use super::{
    Filter, Invalid, levels,
    members::Members,
    validate::{is_hidden, split},
};
use hashbrown::HashTable;
use slab::Slab;
use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::{BuildHasher, Hash},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

type Id = u32;

const ROOT: Id = 0;
/// In place of a child: the root is nobody's.
const NONE: Id = ROOT;

/// Subscribers (`K`) with their options (`O`) by topic filter.
pub struct Subscriptions<K, O> {
    nodes: Slab<Node<K, O>>,
    children: HashTable<Id>,
    /// Where each subscriber is found.
    places: HashMap<K, Vec<Place>>,
    hasher: RandomState,
    max_levels: usize,
    count: usize,
}

struct Node<K, O> {
    parent: Id,
    /// The child `+`.
    plus: Id,
    /// The child `#`.
    hash: Id,
    /// Children in the hash table.
    exact: u32,
    level: Box<str>,
    own: Members<K, O>,
    groups: Groups<K, O>,
}

type Groups<K, O> = Option<Box<HashMap<Arc<str>, Group<K, O>>>>;

#[derive(Clone, PartialEq, Eq)]
struct Place {
    node: Id,
    group: Option<Arc<str>>,
}

/// What a topic leads to.
#[derive(Clone, Copy, Debug)]
pub enum Match<'a, K, O> {
    /// A subscriber of its own account.
    Own(&'a K, &'a O),
    /// A group: one of its members gets the message.
    Shared(&'a Group<K, O>),
}

/// The members of one `$share/<group>/<filter>`; never empty.
pub struct Group<K, O> {
    name: Arc<str>,
    members: Members<K, O>,
    turn: AtomicUsize,
}

impl<K: Clone + Eq + Hash, O> Group<K, O> {
    /// The name between the slashes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everyone in it, in no particular order, but the same order while nobody joins or leaves.
    pub fn members(&self) -> &[(K, O)] {
        self.members.as_slice()
    }

    /// Whose turn it is: an index into [`Group::members`]. Each call gives the turn to the next; whoever cannot take the
    /// message is skipped by going on from there.
    pub fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.members.as_slice().len()
    }
}

/// One subscription, as listed for its subscriber.
#[derive(Debug, PartialEq, Eq)]
pub struct Subscription<'a, O> {
    /// The group of a shared subscription.
    pub group: Option<&'a str>,
    /// The filter, without `$share/<group>/`.
    pub filter: String,
    /// As given to [`Subscriptions::insert`].
    pub options: &'a O,
}

impl<K: Clone + Eq + Hash, O> Subscriptions<K, O> {
    /// An empty tree for filters of at most `max_levels` levels.
    pub fn new(max_levels: usize) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(NONE, ""));
        Self {
            nodes,
            children: HashTable::new(),
            places: HashMap::new(),
            hasher: RandomState::new(),
            max_levels,
            count: 0,
        }
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody subscribes to anything.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many nodes the tree has: one for each distinct beginning of a filter, and the root. For tests and metrics.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Subscribes; `Ok(None)` says that the subscription is new, otherwise the options it had are given back.
    /// The filter must be valid. Fails only with [`Invalid::TooManyLevels`].
    pub fn insert(
        &mut self,
        key: &K,
        filter: Filter<'_>,
        options: O,
    ) -> Result<Option<O>, Invalid> {
        if levels(filter.filter) > self.max_levels {
            return Err(Invalid::TooManyLevels);
        }
        let node = self.make(filter.filter);
        let (members, group) = self.node_mut(node).members_mut(filter.group);
        let before = members.insert(key, options);
        if before.is_none() {
            self.count += 1;
            let place = Place { node, group };
            match self.places.get_mut(key) {
                Some(places) => places.push(place),
                None => {
                    self.places.insert(key.clone(), vec![place]);
                }
            }
        }
        Ok(before)
    }

    /// Unsubscribes; gives the options back, or `None` when there was no such subscription.
    pub fn remove(&mut self, key: &K, filter: Filter<'_>) -> Option<O> {
        let node = self.find(filter.filter)?;
        let options = self.node_mut(node).take(key, filter.group)?;
        self.count -= 1;
        if let Some(places) = self.places.get_mut(key) {
            let at = places
                .iter()
                .position(|place| place.node == node && place.group.as_deref() == filter.group);
            if let Some(at) = at {
                places.swap_remove(at);
            }
            if places.is_empty() {
                self.places.remove(key);
            }
        }
        self.prune(node);
        self.shrink();
        Some(options)
    }

    /// Removes all subscriptions of one subscriber, in time proportional to their number. Returns the number.
    pub fn remove_all(&mut self, key: &K) -> usize {
        let places = self.places.remove(key).unwrap_or_default();
        for Place { node, group } in &places {
            self.node_mut(*node).take(key, group.as_deref());
            self.prune(*node);
        }
        self.count -= places.len();
        self.shrink();
        places.len()
    }

    /// The options of one subscription.
    pub fn get(&self, key: &K, filter: Filter<'_>) -> Option<&O> {
        let node = self.find(filter.filter)?;
        self.node(node).members(filter.group)?.get(key)
    }

    /// The subscriptions of one subscriber, in no particular order.
    pub fn of(&self, key: &K) -> impl Iterator<Item = Subscription<'_, O>> {
        let places = self.places.get(key).map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(move |place| {
            let group = place.group.as_deref();
            let options = self.node(place.node).members(group)?.get(key)?;
            Some(Subscription {
                group,
                filter: self.filter_of(place.node),
                options,
            })
        })
    }

    /// Calls `visit` with everything whose filter matches the topic name. A subscriber with several such filters comes
    /// once for each. Allocates nothing.
    pub fn matches<'a>(&'a self, topic: &str, mut visit: impl FnMut(Match<'a, K, O>)) {
        let mut go_on = |found| {
            visit(found);
            ControlFlow::Continue(())
        };
        // Nothing breaks off.
        let _ = self.walk(ROOT, Some(topic), is_hidden(topic), &mut go_on);
    }

    /// Whether any filter matches the topic name.
    pub fn any(&self, topic: &str) -> bool {
        let mut stop = |_| ControlFlow::Break(());
        self.walk(ROOT, Some(topic), is_hidden(topic), &mut stop)
            .is_break()
    }

    /// Follows exact children in the loop and recurses only for `+`.
    fn walk<'a, F>(
        &'a self,
        mut node: Id,
        mut rest: Option<&str>,
        mut hidden: bool,
        visit: &mut F,
    ) -> ControlFlow<()>
    where
        F: FnMut(Match<'a, K, O>) -> ControlFlow<()>,
    {
        loop {
            let here = self.node(node);
            if here.hash != NONE && !hidden {
                // `#` also stands for no level at all.
                self.node(here.hash).report(visit)?;
            }
            let Some(text) = rest else {
                return here.report(visit);
            };
            let (level, tail) = split(text);
            if here.plus != NONE && !hidden {
                self.walk(here.plus, tail, false, visit)?;
            }
            if here.exact == 0 {
                return ControlFlow::Continue(());
            }
            let Some(child) = self.child(node, level) else {
                return ControlFlow::Continue(());
            };
            (node, rest, hidden) = (child, tail, false);
        }
    }

    fn node(&self, id: Id) -> &Node<K, O> {
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: Id) -> &mut Node<K, O> {
        &mut self.nodes[id as usize]
    }

    /// The child of an exact level.
    fn child(&self, parent: Id, level: &str) -> Option<Id> {
        let same = |id: &Id| {
            let node = self.node(*id);
            node.parent == parent && *node.level == *level
        };
        let hash = self.hasher.hash_one((parent, level));
        self.children.find(hash, same).copied()
    }

    fn step(&self, parent: Id, level: &str) -> Option<Id> {
        match level {
            "+" => Some(self.node(parent).plus).filter(|id| *id != NONE),
            "#" => Some(self.node(parent).hash).filter(|id| *id != NONE),
            _ => self.child(parent, level),
        }
    }

    fn find(&self, filter: &str) -> Option<Id> {
        let mut levels = filter.split('/');
        levels.try_fold(ROOT, |node, level| self.step(node, level))
    }

    fn make(&mut self, filter: &str) -> Id {
        let mut node = ROOT;
        for level in filter.split('/') {
            node = match self.step(node, level) {
                Some(child) => child,
                None => self.add(node, level),
            };
        }
        node
    }

    fn add(&mut self, parent: Id, level: &str) -> Id {
        let id = self.nodes.insert(Node::new(parent, level));
        let id = Id::try_from(id).expect("memory ends before four thousand million nodes");
        match level {
            "+" => self.node_mut(parent).plus = id,
            "#" => self.node_mut(parent).hash = id,
            _ => {
                self.node_mut(parent).exact += 1;
                list(&mut self.children, &self.nodes, &self.hasher, id);
            }
        }
        id
    }

    /// Frees a node that leads nowhere any more, and then its parents likewise.
    fn prune(&mut self, mut id: Id) {
        while id != ROOT && self.nodes.contains(id as usize) && self.node(id).is_useless() {
            let node = self.nodes.remove(id as usize);
            let parent = &mut self.nodes[node.parent as usize];
            match &*node.level {
                "+" => parent.plus = NONE,
                "#" => parent.hash = NONE,
                _ => {
                    parent.exact -= 1;
                    let hash = self.hasher.hash_one((node.parent, &*node.level));
                    if let Ok(entry) = self.children.find_entry(hash, |other| *other == id) {
                        entry.remove();
                    }
                }
            }
            id = node.parent;
        }
    }

    /// Gives memory back after many removals: moves the nodes together under new numbers. Pays for itself, since at least
    /// as many nodes were removed as remain.
    fn shrink(&mut self) {
        let live = self.nodes.len();
        if self.nodes.capacity() < 256 || live > self.nodes.capacity() / 4 {
            return;
        }
        let old = std::mem::take(&mut self.nodes);
        self.nodes.reserve_exact(live * 2);
        let mut renamed: HashMap<Id, Id> = HashMap::with_capacity(live);
        // In the order of their numbers: the root stays the first.
        for (from, node) in old {
            let to = self.nodes.insert(node);
            let narrow = |id: usize| Id::try_from(id).expect("fewer than before");
            renamed.insert(narrow(from), narrow(to));
        }
        self.children = HashTable::with_capacity(live);
        for (_, node) in &mut self.nodes {
            for id in [&mut node.parent, &mut node.plus, &mut node.hash] {
                *id = renamed[id];
            }
        }
        for (id, node) in &self.nodes {
            if id != ROOT as usize && !matches!(&*node.level, "+" | "#") {
                let id = Id::try_from(id).expect("fewer than before");
                list(&mut self.children, &self.nodes, &self.hasher, id);
            }
        }
        for places in self.places.values_mut() {
            for place in places.iter_mut() {
                place.node = renamed[&place.node];
            }
        }
        self.places.shrink_to(self.places.len() * 2);
    }

    fn filter_of(&self, node: Id) -> String {
        let parents = std::iter::successors(Some(node), |id| Some(self.node(*id).parent));
        let mut levels: Vec<_> = parents
            .take_while(|id| *id != ROOT)
            .map(|id| &*self.node(id).level)
            .collect();
        levels.reverse();
        levels.join("/")
    }
}

/// Puts a node into the table of children.
fn list<K, O>(
    children: &mut HashTable<Id>,
    nodes: &Slab<Node<K, O>>,
    hasher: &RandomState,
    id: Id,
) {
    let hash_of = |id: &Id| {
        let node = &nodes[*id as usize];
        hasher.hash_one((node.parent, &*node.level))
    };
    children.insert_unique(hash_of(&id), id, hash_of);
}

impl<K, O> Node<K, O> {
    fn new(parent: Id, level: &str) -> Self {
        Self {
            parent,
            plus: NONE,
            hash: NONE,
            exact: 0,
            level: level.into(),
            own: Members::default(),
            groups: None,
        }
    }
}

impl<K: Clone + Eq + Hash, O> Node<K, O> {
    fn report<'a, F>(&'a self, visit: &mut F) -> ControlFlow<()>
    where
        F: FnMut(Match<'a, K, O>) -> ControlFlow<()>,
    {
        for (key, options) in self.own.as_slice() {
            visit(Match::Own(key, options))?;
        }
        if let Some(groups) = &self.groups {
            for group in groups.values() {
                visit(Match::Shared(group))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn is_useless(&self) -> bool {
        self.own.is_empty()
            && self.groups.is_none()
            && self.exact == 0
            && self.plus == NONE
            && self.hash == NONE
    }

    fn members(&self, group: Option<&str>) -> Option<&Members<K, O>> {
        match group {
            None => Some(&self.own),
            Some(name) => Some(&self.groups.as_ref()?.get(name)?.members),
        }
    }

    /// The members to add to, and the group's name as it is shared.
    fn members_mut(&mut self, group: Option<&str>) -> (&mut Members<K, O>, Option<Arc<str>>) {
        let Some(name) = group else {
            return (&mut self.own, None);
        };
        let groups = self.groups.get_or_insert_default();
        let name = match groups.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        let group = groups.entry(name.clone()).or_insert_with(|| Group {
            name: name.clone(),
            members: Members::default(),
            turn: AtomicUsize::new(0),
        });
        (&mut group.members, Some(name))
    }

    fn take(&mut self, key: &K, group: Option<&str>) -> Option<O> {
        let Some(name) = group else {
            return self.own.remove(key);
        };
        let groups = self.groups.as_mut()?;
        let members = &mut groups.get_mut(name)?.members;
        let options = members.remove(key);
        if members.is_empty() {
            groups.remove(name);
            if groups.is_empty() {
                self.groups = None;
            }
        }
        options
    }
}

impl<K, O> fmt::Debug for Subscriptions<K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions")
            .field("count", &self.count)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl<K, O> fmt::Debug for Group<K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
