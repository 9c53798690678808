//! The environment of a component's scripts, as Greengrass gives it.

use crate::{Options, launcher::StepKind, token::Token};
use model::{ComponentSpec, Step};
use std::collections::BTreeMap;

/// From weakest to strongest: the device's base, the runtime's own, the lifecycle's `Setenv`, the step's.
///
/// The token and the socket cannot be overridden: a component that named another's would lock itself out.
pub(crate) fn environment(
    options: &Options,
    spec: &ComponentSpec,
    kind: StepKind,
    step: &Step,
    token: &Token,
) -> BTreeMap<String, String> {
    let mut all = options.base_environment.clone();
    all.insert("GGC_VERSION".into(), options.version.clone());
    if let Some(thing) = &options.thing_name {
        all.insert("AWS_IOT_THING_NAME".into(), thing.clone());
    }
    if let Some(region) = &options.region {
        all.insert("AWS_REGION".into(), region.clone());
        all.insert("AWS_DEFAULT_REGION".into(), region.clone());
    }
    if kind == StepKind::Uninstall {
        all.insert(
            "GREENGRASS_COMPONENT_VERSION".into(),
            spec.version.to_string(),
        );
    }
    all.extend(spec.lifecycle.setenv.clone());
    all.extend(step.setenv.clone());
    let socket = options.socket.display().to_string();
    for name in [
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH",
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",
    ] {
        all.insert(name.into(), socket.clone());
    }
    for name in ["SVCUID", "AWS_CONTAINER_AUTHORIZATION_TOKEN"] {
        all.insert(name.into(), token.reveal().to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fixture::{spec, step};

    #[test]
    fn stronger_layers_win_and_the_identity_cannot_be_overridden() {
        let mut options = Options::new("/gg".into());
        options.thing_name = Some("thing".into());
        options.region = Some("eu-central-1".into());
        options.base_environment = BTreeMap::from([
            ("A".into(), "base".into()),
            ("HTTP_PROXY".into(), "p".into()),
        ]);
        let mut spec = spec("c");
        spec.lifecycle.setenv =
            BTreeMap::from([("A".into(), "life".into()), ("B".into(), "life".into())]);
        let mut run = step("x");
        run.setenv = BTreeMap::from([
            ("B".into(), "step".into()),
            ("SVCUID".into(), "stolen".into()),
        ]);
        let token = Token::generate().unwrap();
        let all = environment(&options, &spec, StepKind::Run, &run, &token);
        let expected = [
            ("A", "life"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token.reveal()),
            ("AWS_DEFAULT_REGION", "eu-central-1"),
            ("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH", "/gg/ipc.socket"),
            (
                "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",
                "/gg/ipc.socket",
            ),
            ("AWS_IOT_THING_NAME", "thing"),
            ("AWS_REGION", "eu-central-1"),
            ("B", "step"),
            ("GGC_VERSION", env!("CARGO_PKG_VERSION")),
            ("HTTP_PROXY", "p"),
            ("SVCUID", token.reveal()),
        ];
        assert_eq!(
            all.iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn uninstall_learns_the_version_it_removes() {
        let token = Token::generate().unwrap();
        let of = |kind| {
            environment(
                &Options::new("/gg".into()),
                &spec("c"),
                kind,
                &step("x"),
                &token,
            )
        };
        assert_eq!(
            of(StepKind::Uninstall)["GREENGRASS_COMPONENT_VERSION"],
            "1.0.0"
        );
        assert!(!of(StepKind::Shutdown).contains_key("GREENGRASS_COMPONENT_VERSION"));
    }
}
