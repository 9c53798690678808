//! The launcher role and its client over a real socket: who is let in, what is refused, what survives.
#![allow(clippy::unwrap_used)]

mod launcher_support;

use launcher_support::*;
use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use supervisor::launcher::{
    Backend, Client, Event, LaunchError, Launcher, Local, Outcome, Socket, StepKind, run,
};
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(5);

fn main() {
    supervisor::launcher::trampoline_main();
    match std::env::args().nth(1).as_deref() {
        Some("knock") => return knock(),
        Some("serve") => return serve(),
        _ => {}
    }
    macro_rules! all {
        ($($test:ident)*) => { vec![$(trial(stringify!($test), $test)),*] };
    }
    let trials = all!(
        every_request_travels_and_errors_come_back_as_they_are
        requests_outside_the_root_are_refused
        other_users_are_refused
        junk_ends_its_own_connection_and_nothing_else
        a_flood_of_connections_is_bounded
        a_frame_that_claims_to_be_huge_costs_nothing
        ends_are_reported_to_every_nucleus
        a_nucleus_that_comes_back_finds_its_components
        the_client_finds_a_launcher_that_was_restarted
        a_launcher_that_ends_takes_its_processes_with_it
    );
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

/// A launcher role in this process.
struct Role {
    root: Root,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), LaunchError>>,
}

impl Role {
    async fn start() -> Self {
        let root = Root::new();
        let shutdown = CancellationToken::new();
        let mut options = root.options();
        options.backend = Backend::Processes;
        let socket = Socket {
            path: socket_of(&root),
            peer: rustix::process::geteuid().as_raw(),
        };
        let task = tokio::spawn(run(options, socket, shutdown.clone()));
        let path = socket_of(&root);
        eventually(|| path.exists().then_some(())).await;
        Self {
            root,
            shutdown,
            task,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(socket_of(&self.root)).await.unwrap()
    }

    async fn end(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(!socket_of(&self.root).exists());
    }
}

fn socket_of(root: &Root) -> PathBuf {
    root.path().parent().unwrap().join("launcher.socket")
}

async fn every_request_travels_and_errors_come_back_as_they_are() {
    let role = Role::start().await;
    let client = role.client().await;
    let mut events = client.events();
    let run = id("a.B", StepKind::Run);
    let folder = client
        .prepare_work_folder(&name("a.B"), None)
        .await
        .unwrap();
    assert!(folder.ends_with("work/a.B") && folder.is_dir());
    let pid = client
        .start(unit(
            &role.root.path(),
            "a.B",
            StepKind::Run,
            "trap 'exit 4' TERM; echo up; while :; do sleep 0.02; done",
        ))
        .await
        .unwrap()
        .pid;
    role.root.line(|line| line == "up").await;
    assert_eq!(
        client
            .start(unit(&role.root.path(), "a.B", StepKind::Run, "true"))
            .await,
        Err(LaunchError::Exists(run.clone()))
    );
    let units = client.inspect().await.unwrap();
    assert_eq!(
        (units[0].id.clone(), units[0].pid, &*units[0].tag),
        (run.clone(), Some(pid), "1.0.0")
    );
    assert_eq!(client.owner(pid).await.unwrap(), Some(name("a.B")));
    client.freeze(&name("a.B")).await.unwrap();
    client.thaw(&name("a.B")).await.unwrap();
    assert_eq!(
        client.freeze(&name("c.D")).await,
        Err(LaunchError::NotFound("c.D".into()))
    );
    client
        .own_artifacts(&name("a.B"), &[], "root")
        .await
        .unwrap();
    assert!(matches!(
        client.reboot().await,
        Err(LaunchError::Refused(_))
    ));
    let unlimited = model::SystemLimits::default();
    client.limits(&name("a.B"), &unlimited).await.unwrap();
    client.stop(&run, GRACE).await.unwrap();
    assert_eq!(exited(&mut events, &run).await.outcome, Outcome::Code(4));
    client.stop(&run, GRACE).await.unwrap();
    role.end().await;
}

async fn requests_outside_the_root_are_refused() {
    let role = Role::start().await;
    let client = role.client().await;
    let mut outside = unit(&role.root.path(), "a.B", StepKind::Run, "true");
    outside.work_folder = "/tmp".into();
    assert!(matches!(
        client.start(outside).await,
        Err(LaunchError::Refused(_))
    ));
    let etc = client
        .own_artifacts(&name("a.B"), &["/etc".into()], "nobody")
        .await;
    assert!(matches!(etc, Err(LaunchError::Refused(_))), "{etc:?}");
    let huge = unit(
        &role.root.path(),
        "a.B",
        StepKind::Run,
        &"x".repeat(5 << 20),
    );
    assert!(matches!(
        client.start(huge).await,
        Err(LaunchError::Refused(_))
    ));
    assert_eq!(client.inspect().await.unwrap(), []);
    role.end().await;
}

/// Connects as somebody else and reports how that went: 0 refused, 1 served.
fn knock() {
    let Ok(mut stream) = UnixStream::connect(std::env::args().nth(2).unwrap()) else {
        std::process::exit(0)
    };
    let body = br#"{"id":1,"request":"Inspect"}"#;
    let _ =
        stream.write_all(&[&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat());
    std::process::exit(i32::from(
        stream.read(&mut [0; 1]).is_ok_and(|count| count > 0),
    ));
}

async fn other_users_are_refused() {
    if !is_root() {
        println!("SKIPPED: only root can pretend to be somebody else");
        return;
    }
    let role = Role::start().await;
    let path = socket_of(&role.root);
    let program = path.with_file_name("knock");
    fs::copy("/proc/self/exe", &program).unwrap();
    let as_user = |uid: u32| {
        let mut command = Command::new(&program);
        command.arg("knock").arg(&path).uid(uid).gid(uid);
        async move {
            tokio::process::Command::from(command)
                .status()
                .await
                .unwrap()
                .code()
        }
    };
    assert_eq!(
        as_user(65534).await,
        Some(0),
        "the socket's mode keeps others out"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(as_user(65534).await, Some(0), "and so do their credentials");
    assert_eq!(as_user(0).await, Some(1), "root is let in");
    role.end().await;
}

async fn junk_ends_its_own_connection_and_nothing_else() {
    let role = Role::start().await;
    let client = role.client().await;
    let frame =
        |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    let junk = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        frame(b"{}"),
        frame(b"\xff\xfe"),
        frame(br#"{"id":1,"request":{"Start":{"id":{"component":"../..","step":"run"}}}}"#),
        frame(br#"{"id":1,"request":{"Execute":"rm -rf /"}}"#),
        frame(br#"{"id":-1,"request":"Inspect"}"#),
        frame(&b"[".repeat(100_000)),
        frame(b""),
    ];
    for bytes in junk {
        let path = socket_of(&role.root);
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(&bytes);
            let mut answer = Vec::new();
            // Closed, perhaps with our bytes unread, which is a reset.
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        assert_eq!(answer.await.unwrap(), b"");
        assert_eq!(client.inspect().await, Ok(Vec::new()));
    }
    role.end().await;
}

async fn a_flood_of_connections_is_bounded() {
    let role = Role::start().await;
    let client = role.client().await;
    let connections: Vec<_> = (0..100)
        .filter_map(|_| UnixStream::connect(socket_of(&role.root)).ok())
        .collect();
    assert_eq!(
        client.inspect().await,
        Ok(Vec::new()),
        "who is connected is served on"
    );
    // Most have been closed again.
    let closed = || {
        let is_closed = |stream: &UnixStream| {
            stream.set_nonblocking(true).unwrap();
            matches!((&*stream).read(&mut [0; 1]), Ok(0))
        };
        (connections
            .iter()
            .filter(|stream| is_closed(stream))
            .count()
            >= 90)
            .then_some(())
    };
    eventually(closed).await;
    drop(connections);
    eventually_connects(&role).await;
    role.end().await;
}

async fn eventually_connects(role: &Role) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while role.client().await.inspect().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
    }
}

async fn a_frame_that_claims_to_be_huge_costs_nothing() {
    let role = Role::start().await;
    let client = role.client().await;
    let memory = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap()
            .to_owned();
        line.trim()
            .split(' ')
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = memory();
    let mut half_open = Vec::new();
    for _ in 0..6 {
        let mut stream = UnixStream::connect(socket_of(&role.root)).unwrap();
        stream.write_all(&(4u32 << 20).to_be_bytes()).unwrap();
        stream.write_all(b"{").unwrap();
        half_open.push(stream);
    }
    assert_eq!(client.inspect().await, Ok(Vec::new()));
    assert!(
        memory() < before + (12 << 10),
        "the length alone is not believed"
    );
    drop(half_open);
    role.end().await;
}

async fn ends_are_reported_to_every_nucleus() {
    let role = Role::start().await;
    let (one, other) = (role.client().await, role.client().await);
    let (mut events, mut others) = (one.events(), other.events());
    one.inspect().await.unwrap();
    other.inspect().await.unwrap();
    start(
        &one,
        unit(
            &role.root.path(),
            "a.B",
            StepKind::Run,
            "echo oh >&2; exit 6",
        ),
    )
    .await;
    let run = id("a.B", StepKind::Run);
    for events in [&mut events, &mut others] {
        let end = exited(events, &run).await;
        assert_eq!(
            (end.outcome, end.stderr_tail),
            (Outcome::Code(6), vec!["oh".to_owned()])
        );
    }
    role.end().await;
}

async fn a_nucleus_that_comes_back_finds_its_components() {
    let role = Role::start().await;
    let client = role.client().await;
    let mut events = client.events();
    let lives_on = start(
        &client,
        unit(
            &role.root.path(),
            "a.B",
            StepKind::Run,
            "while :; do echo tick; sleep 0.02; done",
        ),
    )
    .await;
    start(
        &client,
        unit(&role.root.path(), "c.D", StepKind::Run, "exit 3"),
    )
    .await;
    exited(&mut events, &id("c.D", StepKind::Run)).await;
    let before = client.inspect().await.unwrap();
    drop(client); // the nucleus is killed
    let client = role.client().await;
    assert_eq!(client.inspect().await.unwrap(), before);
    assert_eq!(before[0].pid, Some(lives_on));
    assert_eq!(
        before[1].ended.as_ref().unwrap().0,
        Outcome::Code(3),
        "what ended meanwhile is known too"
    );
    role.root.lines.lock().unwrap().clear();
    role.root.line(|line| line == "tick").await; // its output still has somewhere to go
    role.end().await;
}

/// The launcher role in a process of its own.
fn serve() {
    let folder = PathBuf::from(std::env::args().nth(2).unwrap());
    block_on(async {
        let mut options = options(folder.join("root"), folder.join("run"), Lines::default());
        options.backend = Backend::Processes;
        let socket = Socket {
            path: folder.join("launcher.socket"),
            peer: rustix::process::geteuid().as_raw(),
        };
        run(options, socket, CancellationToken::new())
            .await
            .unwrap();
    });
}

fn serve_as_child(root: &Root) -> Child {
    Command::new("/proc/self/exe")
        .arg("serve")
        .arg(root.path().parent().unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn the_client_finds_a_launcher_that_was_restarted() {
    let root = Root::new();
    let mut child = serve_as_child(&root);
    let path = socket_of(&root);
    let client = loop {
        match Client::connect(&path).await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let mut events = client.events();
    let pid = start(
        &client,
        unit(&root.path(), "a.B", StepKind::Run, "exec sleep 60"),
    )
    .await;
    let run = id("a.B", StepKind::Run);
    let ignores = unit(
        &root.path(),
        "c.D",
        StepKind::Run,
        "trap '' TERM; echo up; while :; do sleep 0.05; done",
    );
    start(&client, ignores).await;
    let stubborn = id("c.D", StepKind::Run);
    let stop = client.stop(&stubborn, Duration::from_secs(60));
    let kill = async {
        assert_eq!(client.owner(pid).await, Ok(Some(name("a.B"))));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let (stopped, ()) = tokio::join!(stop, kill);
    assert!(
        matches!(stopped, Err(LaunchError::Disconnected(_))),
        "what was under way is said to be lost: {stopped:?}"
    );
    let mut child = serve_as_child(&root);
    assert_eq!(
        tokio::time::timeout(PATIENCE, events.next()).await.unwrap(),
        Some(Event::Missed)
    );
    assert_eq!(
        client.inspect().await,
        Ok(Vec::new()),
        "own processes do not outlive their launcher by much"
    );
    assert!(!lives(pid));
    start(&client, unit(&root.path(), "a.B", StepKind::Run, "exit 2")).await;
    assert_eq!(exited(&mut events, &run).await.outcome, Outcome::Code(2));
    child.kill().unwrap();
    child.wait().unwrap();
    // One that ends well tidies up after the killed one.
    let mut options = root.options();
    options.backend = Backend::Processes;
    drop(Local::open(options).await.unwrap());
}

async fn a_launcher_that_ends_takes_its_processes_with_it() {
    let role = Role::start().await;
    let client = role.client().await;
    let pid = start(
        &client,
        unit(&role.root.path(), "a.B", StepKind::Run, "exec sleep 60"),
    )
    .await;
    role.end().await;
    assert!(!lives(pid));
}
