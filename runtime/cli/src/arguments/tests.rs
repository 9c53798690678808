//! What people type, word for word.

use super::{deployment::RunWithOption, *};
use ::clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words = std::iter::once("greengrass-cli")
        .chain(line.split_whitespace())
        .map(Into::into);
    Cli::try_parse_from(modernise(words))
}

fn command(line: &str) -> Command {
    parse(line)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .command
}

fn create(line: &str) -> Create {
    match command(line) {
        Command::Deployment(DeploymentCommand::Create(create)) | Command::Deploy(create) => create,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_classic_deployment_options_are_known_in_every_spelling() {
    let expected = Create {
        recipes: Some("r".into()),
        artifacts: Some("a".into()),
        merge: vec![
            ("com.A".parse().unwrap(), "1.0.0".into()),
            ("com.B".parse().unwrap(), "2.0.0-rc.1+b".into()),
        ],
        remove: vec!["com.C".parse().unwrap()],
        run_with: vec![RunWithOption {
            component: "com.A".parse().unwrap(),
            posix_user: Some("u:g".into()),
        }],
        system_limits: Some("{}".into()),
        update: Some("{}".into()),
        policy: Some(deployment::Policy::Rollback),
        update_policy: None,
        change: Change {
            group: Group {
                group: Some("G".into()),
            },
            ..Change::default()
        },
    };
    for line in [
        "deployment create -r r -a a -m com.A=1.0.0 -m com.B=2.0.0-rc.1+b --remove com.C -g G --runWith com.A:posixUser=u:g --systemLimits {} -c {} -fp ROLLBACK",
        "deployment create --recipeDir r --artifactDir a --merge com.A=1.0.0 --merge com.B=2.0.0-rc.1+b --remove=com.C --groupId G --runWith com.A:posixUser=u:g --systemLimits {} --update-config {} --failure-handling-policy rollback",
        "deployment create --recipe-dir r --artifact-dir a --merge com.A=1.0.0,com.B=2.0.0-rc.1+b --remove com.C --group-id G --run-with com.A:posixUser=u:g --system-limits {} --updateConfig {} --failureHandlingPolicy ROLLBACK",
        "deploy --recipe-dir r --artifacts-dir a --add-component com.A=1.0.0 --add-component com.B=2.0.0-rc.1+b --remove-component com.C --group-name G --run-with com.A:posixUser=u:g --system-limits {} -c {} -fp=rollback",
    ] {
        assert_eq!(create(line), expected, "{line}");
    }
}

#[test]
fn the_root_stands_before_or_behind_the_command() {
    for line in [
        "--ggcRootPath /r component list",
        "component list --ggcRootPath=/r",
        "component --ggc-root-path /r list",
        "--root /r component list",
    ] {
        assert_eq!(parse(line).unwrap().root, Some("/r".into()), "{line}");
    }
    assert_eq!(
        parse("component list --output json").unwrap().output,
        OutputForm::Json
    );
    assert_eq!(
        parse("-o json component list").unwrap().output,
        OutputForm::Json
    );
}

#[test]
fn components_are_named_alone_or_in_a_row() {
    let names = |line: &str| match command(line) {
        Command::Component(ComponentCommand::Restart(names) | ComponentCommand::Stop(names)) => {
            names
                .names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(names("component restart -n a,b"), ["a", "b"]);
    assert_eq!(names("component stop --names a -n b"), ["a", "b"]);
    assert!(parse("component details -n ../etc").is_err());
    assert!(parse("component restart").is_err());
}

#[test]
fn deployments_are_named_watched_and_removed() {
    let status = DeploymentCommand::Status {
        id: "x".into(),
        follow: Follow {
            follow: true,
            timeout: Some(5),
        },
    };
    for line in [
        "deployment status -i x --follow --timeout 5",
        "deployment status --deploymentId x --wait --timeout 5",
        "deployment status --deployment-id=x --follow --timeout=5",
    ] {
        assert_eq!(
            command(line),
            Command::Deployment(match &status {
                DeploymentCommand::Status { id, .. } => DeploymentCommand::Status {
                    id: id.clone(),
                    follow: Follow {
                        follow: true,
                        timeout: Some(5)
                    }
                },
                _ => unreachable!(),
            }),
            "{line}"
        );
    }
    for line in ["deployment remove a b", "deployment remove a,b"] {
        let Command::Deployment(DeploymentCommand::Remove(remove)) = command(line) else {
            panic!("{line}")
        };
        assert_eq!(remove.components.len(), 2, "{line}");
    }
    assert!(parse("deployment remove").is_err());
    assert!(parse("deployment status").is_err());
    assert!(parse("deployment create --dry-run --wait -m a=1.0.0").is_err());
}

#[test]
fn the_classic_log_options_of_several_letters_are_known() {
    let get = |line: &str| match command(line) {
        Command::Logs(LogsCommand::Get(get)) => get,
        other => panic!("{other:?}"),
    };
    let classic = get(
        "logs get -lf /l/a.log -ld /l -t -2h15min,-1hr -f a,b=c -f level=INFO -b 1 -a 2 -m 10 -fol -nc -v",
    );
    let long = get(
        "logs get --log-file /l/a.log --log-dir /l --time-window -2h15min,-1hr --filter a,b=c --filter level=INFO --before 1 --after 2 --max-log-queue-size 10 --follow true --no-color --verbose",
    );
    assert_eq!(classic, long);
    assert!(classic.follow && classic.no_color && classic.verbose);
    assert_eq!(
        (classic.before, classic.after, classic.filter.len()),
        (1, 2, 2)
    );
    assert!(!get("logs get --follow false").follow);
    assert!(get("logs get --follow --max-log-entries 5 -n com.A,com.B").follow);
    assert!(matches!(
        command("logs list-log-files -ld /l"),
        Command::Logs(LogsCommand::ListLogFiles { .. })
    ));
    assert!(matches!(
        command("logs list-keywords --syslog"),
        Command::Logs(LogsCommand::ListKeywords { syslog: true })
    ));
    assert!(matches!(
        command("logs list-log-groups"),
        Command::Logs(LogsCommand::ListLogGroups { .. })
    ));
}

#[test]
fn wrong_arguments_say_what_would_be_right_and_exit_with_2() {
    for (line, hint) in [
        ("deployment create --merge com.A", "NAME=VERSION"),
        ("deployment create --merge com.A=latest", "latest"),
        ("deployment create --merge a/b=1.0.0", "not '/'"),
        ("deployment create --runWith com.A=u", "posixUser=USER"),
        (
            "deployment create --runWith com.A:windowsUser=u",
            "posixUser",
        ),
        (
            "deployment create --runWith com.A:posixUser=:g",
            "posixUser=USER",
        ),
        (
            "deployment create --failure-handling-policy MAYBE",
            "ROLLBACK",
        ),
        (
            "deployment create --component-update-policy MAYBE",
            "SKIP_NOTIFY_COMPONENTS",
        ),
        ("recipe check f --platform linux", "KEY=VALUE"),
        ("component lst", "list"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(hint), "{line}: {error}");
    }
    let help = parse("--help").unwrap_err();
    assert_eq!(help.exit_code(), 0);
    assert!(help.to_string().contains("Exit codes"), "{help}");
}
