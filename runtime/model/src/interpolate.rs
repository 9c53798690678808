//! Recipe variables: `{configuration:/pointer}`, `{artifacts:path}`, `{com.example.Other:work:path}` and so on.

use crate::{ComponentName, Version};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf};

/// What the variables of a whole deployment are made from.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct World {
    /// `{kernel:rootPath}`; the artifact and work folders are below it.
    pub root: PathBuf,
    /// `{iot:thingName}`; left verbatim when `None`.
    pub thing_name: Option<String>,
    /// Every component of the deployment.
    pub components: BTreeMap<ComponentName, Resident>,
}

/// One component of a [`World`].
#[derive(Clone, PartialEq, Debug)]
pub struct Resident {
    /// Its version: the artifact folders are named after it.
    pub version: Version,
    /// Its configuration, resolved.
    pub configuration: Value,
}

/// The variables one component may use: its own, and those of its direct dependencies.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    world: &'a World,
    component: &'a ComponentName,
    dependencies: BTreeMap<&'a str, &'a ComponentName>,
}

/// A variable of a component that may not be looked into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} is a variable of {target}, which is not among the ComponentDependencies of {component}: add it there"
)]
pub struct InterpolateError {
    /// The variable, braces and all.
    pub variable: String,
    /// Whose it is.
    pub target: String,
    /// Who uses it.
    pub component: ComponentName,
}

impl<'a> Scope<'a> {
    /// The scope of one component.
    pub fn new(
        world: &'a World,
        component: &'a ComponentName,
        dependencies: impl IntoIterator<Item = &'a ComponentName>,
    ) -> Self {
        Self {
            world,
            component,
            dependencies: dependencies.into_iter().map(|n| (n.as_str(), n)).collect(),
        }
    }

    /// Fills in the variables of a lifecycle text. A variable that is unknown, or whose configuration value is
    /// missing, stays as it is, braces included; `$NAME` is left to the shell.
    pub fn interpolate(&self, text: &str) -> Result<String, InterpolateError> {
        self.replace(text, true)
    }

    /// Fills in the variables of a configuration value, in texts at any depth: what
    /// `interpolateComponentConfiguration` asks for. `{configuration:…}` is not among them.
    pub fn interpolate_value(&self, value: &Value) -> Result<Value, InterpolateError> {
        Ok(match value {
            Value::String(text) => Value::String(self.replace(text, false)?),
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|v| self.interpolate_value(v))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(k, v)| Ok((k.clone(), self.interpolate_value(v)?)))
                    .collect::<Result<_, InterpolateError>>()?,
            ),
            other => other.clone(),
        })
    }

    fn replace(&self, text: &str, with_configuration: bool) -> Result<String, InterpolateError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            rest = &rest[open..];
            match Variable::at(rest) {
                Some(variable) => {
                    match self.lookup(&variable, with_configuration)? {
                        Some(value) => out.push_str(&value),
                        None => out.push_str(variable.text),
                    }
                    rest = &rest[variable.text.len()..];
                }
                None => {
                    out.push('{');
                    rest = &rest[1..];
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn lookup(
        &self,
        variable: &Variable<'_>,
        with_configuration: bool,
    ) -> Result<Option<String>, InterpolateError> {
        if !matches!(
            variable.namespace,
            "configuration" | "artifacts" | "work" | "kernel" | "iot"
        ) {
            return Ok(None);
        }
        let target = match variable.component {
            None => self.component,
            Some(name) if name == self.component.as_str() => self.component,
            Some(name) => *self
                .dependencies
                .get(name)
                .ok_or_else(|| InterpolateError {
                    variable: variable.text.to_owned(),
                    target: name.to_owned(),
                    component: self.component.clone(),
                })?,
        };
        let resident = self.world.components.get(target);
        let folder = |parts: &[&str]| {
            let mut path = self.world.root.clone();
            path.extend(parts);
            Some(path.display().to_string())
        };
        let artifacts = |kind: &str| {
            resident
                .and_then(|r| folder(&["packages", kind, target.as_str(), &r.version.to_string()]))
        };
        Ok(match (variable.namespace, variable.key) {
            ("configuration", pointer) if with_configuration => resident
                .and_then(|r| pointed(&r.configuration, pointer))
                .map(as_text),
            ("artifacts", "path") => artifacts("artifacts"),
            ("artifacts", "decompressedPath") => artifacts("artifacts-unarchived"),
            ("work", "path") => folder(&["work", target.as_str()]),
            ("kernel", "rootPath") => folder(&[]),
            ("iot", "thingName") => self.world.thing_name.clone(),
            _ => None,
        })
    }
}

/// `{namespace:key}` or `{component:namespace:key}`.
struct Variable<'t> {
    text: &'t str,
    component: Option<&'t str>,
    namespace: &'t str,
    key: &'t str,
}

impl<'t> Variable<'t> {
    /// The variable at the start of a text that starts with `{`. Looks no further than the variable reaches.
    fn at(text: &'t str) -> Option<Self> {
        let word = |from: usize| {
            let length = text[from..]
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || b".-_".contains(b))
                .count();
            let end = from + length;
            (length > 0 && text[end..].starts_with(':')).then_some((&text[from..end], end + 1))
        };
        let (first, after) = word(1)?;
        let (component, namespace, from) = match word(after) {
            Some((second, after)) => (Some(first), second, after),
            None => (None, first, after),
        };
        let end = from + text[from..].find([':', '}'])?;
        text[end..].starts_with('}').then_some(Self {
            text: &text[..=end],
            component,
            namespace,
            key: &text[from..end],
        })
    }
}

/// The value a JSON pointer (RFC 6901) leads to. Keys are looked up as written first, then in any case.
fn pointed<'v>(root: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.is_empty() {
        return Some(root);
    }
    pointer
        .strip_prefix('/')?
        .split('/')
        .try_fold(root, |value, token| {
            let token = token.replace("~1", "/").replace("~0", "~");
            match value {
                Value::Object(members) => members.get(&token).or_else(|| {
                    members
                        .iter()
                        .find(|(k, _)| k.eq_ignore_ascii_case(&token))
                        .map(|(_, v)| v)
                }),
                Value::Array(items) => {
                    let plain = token == "0" || !(token.starts_with('0') || token.starts_with('+'));
                    token
                        .parse::<usize>()
                        .ok()
                        .filter(|_| plain)
                        .and_then(|i| items.get(i))
                }
                _ => None,
            }
        })
}

/// A text as it is, `null`, numbers and booleans as JSON writes them, mappings with sorted keys.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn name(text: &str) -> ComponentName {
        ComponentName::new(text).unwrap()
    }

    fn world() -> World {
        World {
            root: "/var/lib/greengrass".into(),
            thing_name: Some("pump-7".into()),
            components: BTreeMap::from([
                (
                    name("com.example.Main"),
                    Resident {
                        version: "1.2.3".parse().unwrap(),
                        configuration: json!({
                            "topic": "a/b", "n": 3, "big": 9_007_199_254_740_993_u64, "f": 1.5, "yes": true, "nothing": null,
                            "deep": {"z": 1, "a": [1, {"k": "v"}]}, "a/b": {"~": "tilde"}, "": "empty key", "list": ["x", "y"],
                        }),
                    },
                ),
                (
                    name("com.example.Other"),
                    Resident {
                        version: "0.4.0".parse().unwrap(),
                        configuration: json!({"port": 8080}),
                    },
                ),
            ]),
        }
    }

    fn filled(text: &str) -> String {
        let (world, main, other) = (world(), name("com.example.Main"), name("com.example.Other"));
        Scope::new(&world, &main, [&other])
            .interpolate(text)
            .unwrap()
    }

    #[test]
    fn every_kind_of_configuration_value_becomes_text() {
        for (variable, text) in [
            ("{configuration:/topic}", "a/b"),
            ("{configuration:/n}", "3"),
            ("{configuration:/big}", "9007199254740993"),
            ("{configuration:/f}", "1.5"),
            ("{configuration:/yes}", "true"),
            ("{configuration:/nothing}", "null"),
            ("{configuration:/deep}", r#"{"a":[1,{"k":"v"}],"z":1}"#),
            ("{configuration:/deep/a/1/k}", "v"),
            ("{configuration:/list/1}", "y"),
            ("{configuration:/list}", r#"["x","y"]"#),
            ("{configuration:/a~1b/~0}", "tilde"),
            ("{configuration:/}", "empty key"),
            ("{configuration:/TOPIC}", "a/b"),
        ] {
            assert_eq!(filled(variable), text, "{variable}");
        }
    }

    #[test]
    fn what_is_unknown_or_missing_stays_verbatim() {
        for text in [
            "{configuration:/none}",
            "{configuration:/list/01}",
            "{configuration:/list/2}",
            "{configuration:topic}",
            "{nothing:here}",
            "{artifacts:elsewhere}",
            "awk '{print $1}' ${HOME} {} {:} {a:b:c:d} { configuration:/topic} {",
            "{not.a.dependency:and:no variable}",
            r#"{"a":{"b":1}}"#,
        ] {
            assert_eq!(filled(text), text);
        }
    }

    #[test]
    fn folders_root_and_thing_name_are_filled_in() {
        assert_eq!(
            filled("{artifacts:path}"),
            "/var/lib/greengrass/packages/artifacts/com.example.Main/1.2.3"
        );
        assert_eq!(
            filled("{artifacts:decompressedPath}/x"),
            "/var/lib/greengrass/packages/artifacts-unarchived/com.example.Main/1.2.3/x"
        );
        assert_eq!(
            filled("{work:path}"),
            "/var/lib/greengrass/work/com.example.Main"
        );
        assert_eq!(
            filled("{kernel:rootPath}:{iot:thingName}"),
            "/var/lib/greengrass:pump-7"
        );
        assert_eq!(filled("{{configuration:/n}}"), "{3}");
    }

    #[test]
    fn a_direct_dependency_may_be_looked_into_and_nobody_else() {
        assert_eq!(filled("{com.example.Other:configuration:/port}"), "8080");
        assert_eq!(
            filled("{com.example.Other:artifacts:path}"),
            "/var/lib/greengrass/packages/artifacts/com.example.Other/0.4.0"
        );
        assert_eq!(
            filled("{com.example.Main:work:path}"),
            filled("{work:path}")
        );
        let (world, main) = (world(), name("com.example.Main"));
        let error = Scope::new(&world, &main, [])
            .interpolate("{com.example.Other:configuration:/port}")
            .unwrap_err();
        assert_eq!(error.target, "com.example.Other");
        assert!(
            error
                .to_string()
                .contains("ComponentDependencies of com.example.Main"),
            "{error}"
        );
    }

    #[test]
    fn a_value_is_not_interpolated_twice() {
        let mut world = world();
        let main = name("com.example.Main");
        let resident = world.components.get_mut(&main).unwrap();
        resident.configuration = json!({"a": "{configuration:/b}", "b": "end"});
        assert_eq!(
            Scope::new(&world, &main, [])
                .interpolate("{configuration:/a}")
                .unwrap(),
            "{configuration:/b}"
        );
    }

    #[test]
    fn configuration_values_take_every_variable_but_configuration() {
        let (world, main) = (world(), name("com.example.Main"));
        let value = json!({"t": ["{iot:thingName}/#", "{configuration:/topic}"], "n": 1});
        assert_eq!(
            Scope::new(&world, &main, [])
                .interpolate_value(&value)
                .unwrap(),
            json!({"t": ["pump-7/#", "{configuration:/topic}"], "n": 1})
        );
    }

    proptest! {
        #[test]
        fn only_what_is_a_variable_is_touched(text in "(\\{|\\}|:|/|[a-c]|é|configuration|iot|thingName|kernel){0,12}") {
            let main = name("com.example.Main");
            let bare = World::default();
            // Without a world there is nothing to fill in but the root, which is empty, and other components' variables.
            match Scope::new(&bare, &main, []).interpolate(&text) {
                Ok(out) => prop_assert_eq!(out, text),
                Err(error) => prop_assert!(text.contains(&error.variable)),
            }
        }
    }
}
