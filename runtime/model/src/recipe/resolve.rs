//! From steps as written to steps that can run: variables filled in, times and switches read.

use super::{Position, RawLifecycle, RawStep, Scalar, Selected, StepName};
use crate::{
    component::{Lifecycle, SkipCondition, SkipIf, Step},
    interpolate::Scope,
};
use std::{collections::BTreeMap, fmt, time::Duration};

/// A value of a step that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepError {
    /// Where it stands in the recipe.
    pub at: Position,
    /// The keys down to it.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The value is a variable for which there is no value (yet).
    pub open_variable: bool,
}

/// Everything wrong with the steps of one component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepErrors(pub Vec<StepError>);

impl fmt::Display for StepErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(
                f,
                "{separator}{} (line {}): {}",
                error.key, error.at.line, error.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for StepErrors {}

impl Selected {
    /// The steps with their variables filled in, ready to run.
    pub fn resolve(&self, scope: &Scope<'_>) -> Result<Lifecycle, StepErrors> {
        let (lifecycle, errors) = self.resolve_as_far_as_known(scope);
        if errors.is_empty() {
            Ok(lifecycle)
        } else {
            Err(StepErrors(errors))
        }
    }

    /// The same, with the defaults in place of what cannot be used.
    pub fn resolve_as_far_as_known(&self, scope: &Scope<'_>) -> (Lifecycle, Vec<StepError>) {
        let mut resolver = Resolver {
            scope,
            errors: Vec::new(),
        };
        let lifecycle = resolver.lifecycle(&self.lifecycle);
        (lifecycle, resolver.errors)
    }
}

struct Resolver<'a> {
    scope: &'a Scope<'a>,
    errors: Vec<StepError>,
}

impl Resolver<'_> {
    fn error(&mut self, raw: &Scalar, message: String, open_variable: bool) {
        self.errors.push(StepError {
            at: raw.at,
            key: raw.key.clone(),
            message,
            open_variable,
        });
    }

    fn lifecycle(&mut self, raw: &RawLifecycle) -> Lifecycle {
        let mut step = |name: StepName| raw.steps.get(&name).map(|s| self.step(name, s));
        let mut lifecycle = Lifecycle {
            bootstrap: step(StepName::Bootstrap),
            install: step(StepName::Install),
            startup: step(StepName::Startup),
            run: step(StepName::Run),
            shutdown: step(StepName::Shutdown),
            recover: step(StepName::Recover),
            uninstall: step(StepName::Uninstall),
            ..Lifecycle::default()
        };
        lifecycle.setenv = self.variables(&raw.setenv);
        if let Some(seconds) = self.seconds(raw.error_reset.as_ref()) {
            lifecycle.error_reset = seconds;
        }
        lifecycle
    }

    fn step(&mut self, name: StepName, raw: &RawStep) -> Step {
        Step {
            script: self.text(&raw.script).unwrap_or_default(),
            requires_privilege: self.switch(raw.requires_privilege.as_ref()),
            skip_if: self.skip_if(raw.skip_if.as_ref()),
            timeout: self
                .seconds(raw.timeout.as_ref())
                .or(name.default_timeout()),
            setenv: self.variables(&raw.setenv),
            on_rollback: name == StepName::Bootstrap && self.switch(raw.on_rollback.as_ref()),
        }
    }

    fn text(&mut self, raw: &Scalar) -> Option<String> {
        self.scope
            .interpolate(&raw.text)
            .map_err(|e| self.error(raw, e.to_string(), false))
            .ok()
    }

    fn variables(&mut self, raw: &BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
        raw.iter()
            .filter_map(|(name, value)| Some((name.clone(), self.text(value)?)))
            .collect()
    }

    /// A value that may not be left open. Nothing, also after interpolation, counts as not given.
    fn closed(&mut self, raw: Option<&Scalar>, wanted: &str) -> Option<(String, Scalar)> {
        let raw = raw?;
        let text = self.text(raw)?.trim().to_owned();
        if text.starts_with('{') && text.ends_with('}') {
            let message = format!("the variable {text} has no value; {wanted}");
            self.error(raw, message, true);
            return None;
        }
        (!text.is_empty()).then(|| (text, raw.clone()))
    }

    fn seconds(&mut self, raw: Option<&Scalar>) -> Option<Duration> {
        const WANTED: &str = "seconds are wanted, such as 120";
        let (text, raw) = self.closed(raw, WANTED)?;
        match text.parse::<f64>() {
            // A year is as good as for ever, and fits every clock.
            Ok(seconds) if seconds > 0.0 => {
                Some(Duration::from_secs_f64(seconds.min(31_536_000.0)))
            }
            _ => {
                self.error(&raw, format!("{text:?} is no time: {WANTED}"), false);
                None
            }
        }
    }

    fn switch(&mut self, raw: Option<&Scalar>) -> bool {
        const WANTED: &str = "true or false is wanted";
        let Some((text, raw)) = self.closed(raw, WANTED) else {
            return false;
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "t" | "y" | "1" => true,
            "false" | "no" | "off" | "f" | "n" | "0" => false,
            _ => {
                self.error(&raw, format!("{text:?} is no switch: {WANTED}"), false);
                false
            }
        }
    }

    fn skip_if(&mut self, raw: Option<&Scalar>) -> Option<SkipIf> {
        let raw = raw?;
        let text = self.text(raw)?;
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let (negated, condition) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let parsed = condition
            .split_once(char::is_whitespace)
            .and_then(|(word, operand)| {
                let operand = operand.trim();
                match word.to_ascii_lowercase().as_str() {
                    _ if operand.is_empty() => None,
                    "onpath" => Some(SkipCondition::OnPath(operand.to_owned())),
                    "exists" => Some(SkipCondition::Exists(operand.into())),
                    _ => None,
                }
            });
        if parsed.is_none() {
            let message = format!(
                "{text:?} is no condition: write \"onpath <program>\" or \"exists <file>\", with \"!\" in front to negate"
            );
            self.error(raw, message, false);
        }
        parsed.map(|condition| SkipIf { negated, condition })
    }
}
