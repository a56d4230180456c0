//! The real binary: exit statuses, what goes to which output, and which socket it means.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may end it")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use handover_control::{
    COMMANDS_WAITING, Command as Order, Environment, Failure, Kind, Listener, Network,
    NetworkState, Networks, Outcome, Procedure, Protocol, ServerStatus, ServiceStatus, Services,
    Status, SwitchEntry, SwitchReply, TurnedAway,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const MISUSE: i32 = 2;

#[test]
fn a_command_line_that_makes_no_sense_is_a_misuse() {
    let place = Place::new("misuse");
    for arguments in [
        &[][..],
        &["dance"],
        &["switch"],
        &["server"],
        &["status", "--jsno"],
        &["keygen"],
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(MISUSE), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    let place = Place::new("help");
    for (arguments, says) in [
        (&["--help"][..], "Exit status: 0 done, 1 failed, 2 misuse."),
        (&["server", "--help"], "[[service]]"),
        (
            &["--version"],
            concat!("handover ", env!("CARGO_PKG_VERSION")),
        ),
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(DONE), "{arguments:?}");
        assert!(text(&output.stdout).contains(says), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let place = Place::new("broken_pipe");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place
        .command(&["keygen", "own.key"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(DONE));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn keygen_writes_a_key_for_its_owner_only_and_never_twice() {
    let place = Place::new("keygen");
    let output = place.run(&["keygen", "own.key"]);
    assert_eq!(output.status.code(), Some(DONE));
    let public_key = text(&output.stdout);
    assert_eq!(public_key.len(), 45, "{public_key}");
    assert!(public_key.ends_with('\n'));
    let path = place.directory.join("own.key");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let before = fs::read(&path).unwrap();
    let output = place.run(&["keygen", "own.key"]);
    assert_eq!(output.status.code(), Some(FAILED));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("not overwritten"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_wrong_configuration_is_a_misuse_and_nothing_starts() {
    let place = Place::new("configuration");
    for (daemon, file, complaint) in [
        (
            "server",
            "lisen = \"0.0.0.0:7400\"",
            "did you mean `listen`?",
        ),
        ("client", "sever = \"x:1\"", "did you mean `server`?"),
    ] {
        fs::write(place.directory.join("daemon.toml"), file).unwrap();
        let output = place.run(&[daemon, "--config", "daemon.toml"]);
        assert_eq!(output.status.code(), Some(MISUSE), "{daemon}");
        let message = text(&output.stderr);
        assert!(message.contains("daemon.toml:1: "), "{message}");
        assert!(message.contains(complaint), "{message}");
    }
    let output = place.run(&["server", "--config", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(MISUSE));
}

#[test]
fn without_a_daemon_a_command_fails_and_says_what_to_start() {
    let place = Place::new("no_daemon");
    let output = place.run(&["status", "--control", "client.sock"]);
    assert_eq!(output.status.code(), Some(FAILED));
    let message = text(&output.stderr);
    assert!(message.contains("client.sock"), "{message}");
    assert!(message.contains("handover client --config"), "{message}");

    let output = place.run(&["switch", "lte", "--control", "client.sock", "--json"]);
    assert_eq!(output.status.code(), Some(FAILED));
    let document = one_document(&output);
    assert!(document["error"].as_str().unwrap().contains("client.sock"));
}

#[test]
fn two_sockets_in_one_place_are_a_misuse_that_names_them() {
    let place = Place::new("two_sockets");
    for name in ["client.sock", "server.sock"] {
        fs::write(place.runtime().join(name), "").unwrap();
    }
    let output = place.run(&["status"]);
    assert_eq!(output.status.code(), Some(MISUSE));
    let message = text(&output.stderr);
    for name in ["client.sock", "server.sock"] {
        let path = place.runtime().join(name);
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
}

#[test]
fn the_socket_is_found_by_argument_by_variable_and_in_its_place() {
    let place = Place::new("found");
    let _daemon = place.daemon(|order| match order {
        Order::Status(reply) => reply.send(status()),
        Order::Networks(_) | Order::Services(_) | Order::Switch { .. } | Order::Trace(_) => {}
    });
    let socket = place.runtime().join("client.sock");
    let explicit = place.run(&["status", "--json", "--control", socket.to_str().unwrap()]);
    let by_place = place.run(&["status", "--json"]);
    let by_variable = place
        .command(&["status", "--json"])
        .env_remove("XDG_RUNTIME_DIR")
        .env("HANDOVER_CONTROL", &socket)
        .output()
        .unwrap();
    for output in [explicit, by_place, by_variable] {
        assert_eq!(output.status.code(), Some(DONE));
        let document = one_document(&output);
        assert_eq!(document["role"], "server");
        assert_eq!(document["clients"], json!([]));
    }
    let output = place.run(&["status"]);
    assert_eq!(
        text(&output.stdout),
        "listening  127.0.0.1:7400\nclients    0\n"
    );
}

#[test]
fn networks_are_listed() {
    let place = Place::new("networks");
    let _daemon = place.daemon(|order| match order {
        Order::Networks(reply) => reply.send(Ok(networks())),
        Order::Status(_) | Order::Services(_) | Order::Switch { .. } | Order::Trace(_) => {}
    });
    let output = place.run(&["networks", "--json"]);
    assert_eq!(output.status.code(), Some(DONE));
    assert_eq!(one_document(&output)["networks"][0]["name"], "wifi");
    let output = place.run(&["networks"]);
    assert!(
        text(&output.stdout).contains("*  wifi"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn services_are_listed() {
    let place = Place::new("services");
    let _daemon = place.daemon(|order| match order {
        Order::Services(reply) => reply.send(services()),
        Order::Status(_) | Order::Networks(_) | Order::Switch { .. } | Order::Trace(_) => {}
    });
    let output = place.run(&["services", "--json"]);
    assert_eq!(output.status.code(), Some(DONE));
    let document = one_document(&output);
    assert_eq!(document["server_services"][0]["last_port"], 8001);
    assert_eq!(document["client_services"], json!([]));
    let output = place.run(&["services"]);
    let message = text(&output.stdout);
    assert!(
        message.contains("web             tcp       8000-8001"),
        "{message}"
    );
}

#[test]
fn switch_is_done_only_if_the_network_carries_the_traffic_at_the_end() {
    let place = Place::new("switch");
    let _daemon = place.daemon(answer_switch);
    for (network, status, document) in [
        ("wifi", DONE, Value::Null),
        ("lte", DONE, json!("done")),
        ("dead", FAILED, json!("failed")),
    ] {
        let output = place.run(&["switch", network, "--json"]);
        assert_eq!(output.status.code(), Some(status), "{network}");
        let entry = one_document(&output);
        assert_eq!(entry["outcome"], document, "{network}");
        let output = place.run(&["switch", network]);
        assert_eq!(output.status.code(), Some(status), "{network}");
        assert!(!output.stdout.is_empty(), "{network}");
    }
    let output = place.run(&["switch", "down"]);
    assert_eq!(output.status.code(), Some(FAILED));
    assert_eq!(text(&output.stderr), "handover: down is down\n");
    let output = place.run(&["switch", "unknown", "--json"]);
    assert_eq!(output.status.code(), Some(MISUSE));
    assert_eq!(one_document(&output)["error"], "no network unknown");
}

#[test]
fn a_switch_that_the_daemon_gives_up_with_its_life_fails() {
    let place = Place::new("dies");
    let _daemon = place.daemon(drop);
    let output = place.run(&["switch", "lte"]);
    assert_eq!(output.status.code(), Some(FAILED));
    assert_eq!(text(&output.stderr), "handover: the daemon is stopping\n");
}

#[test]
fn a_daemon_whose_log_cannot_be_written_goes_on_serving() {
    let place = Place::new("no_log");
    place.run(&["keygen", "server.key"]);
    let [.., high, low] = std::process::id().to_be_bytes();
    // A host of loopback that no other test has.
    let configuration = format!("listen = \"127.99.{high}.{low}:7400\"\nkey = \"server.key\"\n");
    fs::write(place.directory.join("server.toml"), configuration).unwrap();
    let (reader, closed_pipe) = std::io::pipe().unwrap();
    drop(reader);
    let full_disk = fs::File::create("/dev/full").unwrap();
    for log in [Stdio::from(closed_pipe), Stdio::from(full_disk)] {
        let mut command = place.command(&["server", "--config", "server.toml"]);
        let mut daemon = Killed(command.stderr(log).spawn().unwrap());
        let deadline = Instant::now() + LIMIT;
        // It has logged that it is up before it answers.
        loop {
            assert_eq!(daemon.0.try_wait().unwrap(), None, "it ended");
            assert!(Instant::now() < deadline, "it does not answer");
            let output = place.run(&["status", "--json"]);
            if output.status.code() == Some(DONE) {
                assert_eq!(one_document(&output)["role"], "server");
                break;
            }
        }
    }
}

/// Until a daemon answers, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A process that ends with its value.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn answer_switch(order: Order) {
    let Order::Switch { network, reply } = order else {
        return;
    };
    let entry = |outcome| {
        Ok(SwitchReply {
            entry: Some(entry(outcome)),
            already_there: false,
        })
    };
    reply.send(match network.as_str() {
        "wifi" => Ok(SwitchReply {
            entry: None,
            already_there: true,
        }),
        "lte" => entry(Outcome::Done),
        "dead" => entry(Outcome::Failed),
        "down" => Err(Failure::failed("down is down")),
        unknown => Err(Failure::misuse(format!("no network {unknown}"))),
    });
}

fn entry(outcome: Outcome) -> SwitchEntry {
    SwitchEntry {
        number: 1,
        kind: Kind::Planned,
        procedure: Procedure::Stepwise,
        from: "wifi".into(),
        to: "lte".into(),
        from_address: None,
        to_address: None,
        started: std::time::SystemTime::UNIX_EPOCH.into(),
        duration_ms: 40.0,
        gap_ms: None,
        outcome,
        reason: None,
    }
}

fn status() -> Status {
    Status::Server(ServerStatus {
        clients: Vec::new(),
        listen: vec!["127.0.0.1:7400".parse().unwrap()],
        turned_away: TurnedAway::default(),
        error: None,
    })
}

fn services() -> Services {
    Services {
        server_services: vec![ServiceStatus {
            name: "web".into(),
            protocol: Protocol::Tcp,
            port: 8000,
            last_port: 8001,
            target: Some("127.0.0.1:80".parse().unwrap()),
            listening: Vec::new(),
            error: None,
        }],
        client_services: Vec::new(),
    }
}

fn networks() -> Networks {
    let network = Network {
        name: "wifi".into(),
        interface: "wlan0".into(),
        state: NetworkState::Available,
        address: None,
        current: true,
        standby: false,
        reason: None,
    };
    Networks {
        networks: vec![network],
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn one_document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A directory of one test's own, gone at its end, in which the binary runs.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("handover-cli-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(directory.join("handover")).unwrap();
        Self { directory }
    }

    fn runtime(&self) -> PathBuf {
        self.directory.join("handover")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handover"));
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env_remove("HANDOVER_CONTROL")
            .env("XDG_RUNTIME_DIR", &self.directory);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A daemon that does to each order what `answer` says, until it is dropped.
    fn daemon(&self, answer: impl Fn(Order) + Send + 'static) -> tokio::runtime::Runtime {
        let environment = Environment {
            control: None,
            runtime: None,
            system: self.directory.clone(),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let guard = runtime.enter();
        let listener = Listener::bind(&self.runtime().join("client.sock"), &environment).unwrap();
        drop(guard);
        let (sender, mut orders) = mpsc::channel(COMMANDS_WAITING);
        runtime.spawn(listener.serve(sender));
        runtime.spawn(async move {
            while let Some(order) = orders.recv().await {
                answer(order);
            }
        });
        runtime
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}
