//! The subscribers of one filter: dense for fan-out, found by key once there are many.

use std::{collections::HashMap, hash::Hash};

/// Up to here a scan is as fast as an index, and an index costs memory.
const SCANNED: usize = 16;

#[derive(Debug)]
pub(super) struct Members<K, O> {
    list: Vec<(K, O)>,
    /// Places in `list`, while it is long.
    #[expect(
        clippy::box_collection,
        reason = "most filters have none: 8 bytes, not 48"
    )]
    index: Option<Box<HashMap<K, usize>>>,
}

impl<K, O> Default for Members<K, O> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            index: None,
        }
    }
}

impl<K: Clone + Eq + Hash, O> Members<K, O> {
    pub fn as_slice(&self) -> &[(K, O)] {
        &self.list
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn place(&self, key: &K) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => self.list.iter().position(|(member, _)| member == key),
        }
    }

    pub fn get(&self, key: &K) -> Option<&O> {
        self.place(key).map(|at| &self.list[at].1)
    }

    /// Puts the key in or replaces its options, which are then given back.
    pub fn insert(&mut self, key: &K, options: O) -> Option<O> {
        if let Some(at) = self.place(key) {
            return Some(std::mem::replace(&mut self.list[at].1, options));
        }
        if self.list.is_empty() {
            // Most filters have one subscriber.
            self.list.reserve_exact(1);
        }
        let at = self.list.len();
        self.list.push((key.clone(), options));
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), at);
        } else if self.list.len() > SCANNED {
            let places = self.list.iter().enumerate();
            self.index = Some(Box::new(
                places.map(|(at, (key, _))| (key.clone(), at)).collect(),
            ));
        }
        None
    }

    pub fn remove(&mut self, key: &K) -> Option<O> {
        let at = self.place(key)?;
        let (_, options) = self.list.swap_remove(at);
        if self.list.len() <= SCANNED / 2 {
            self.index = None;
        }
        if let Some(index) = &mut self.index {
            index.remove(key);
            if let Some((moved, _)) = self.list.get(at) {
                index.insert(moved.clone(), at);
            }
            if index.len() < index.capacity() / 4 {
                index.shrink_to(index.len() * 2);
            }
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
        Some(options)
    }
}
