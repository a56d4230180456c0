//! The real daemons, met with what goes wrong in practice: what they say, and what they go on doing.
//!
//! Over loopback, without privileges. Every row of docs/troubleshooting.md that is about a running daemon is here.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may end it")]

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use handover_carrier::{Acceptor, AllowedKeys, Conduit, Connector, PrivateKey};
use handover_proto::wire::{Frame, Hello, RefusedCode, Role, VERSION, encode};
use handover_proto::{Instance, LinkNumber};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// For anything that a daemon does by itself, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_port_that_is_taken_is_said_with_the_remedy() {
    let place = Place::new("port_taken");
    place.write_server("");
    let is_said = |protocol: &str| {
        let output = place.run(&["server", "--config", "server.toml"]);
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "cannot listen on {} over {protocol}: Address already in use",
            place.server
        );
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains("set another `listen`"), "{message}");
    };
    let taken = TcpListener::bind(place.server).unwrap();
    is_said("TCP");
    drop(taken);
    let taken = UdpSocket::bind(place.server).unwrap();
    is_said("UDP");
    drop(taken);
}

#[test]
fn an_address_of_another_machine_is_said_with_the_remedy() {
    let place = Place::new("no_address");
    place.write_server("");
    let file = place.directory.join("server.toml");
    let text = fs::read_to_string(&file).unwrap();
    let own = place.server.to_string();
    fs::write(&file, text.replace(&own, "192.0.2.1:7400")).unwrap();
    let output = place.run(&["server", "--config", "server.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("cannot listen on 192.0.2.1:7400"),
        "{message}"
    );
    assert!(message.contains("`ip address` shows"), "{message}");
}

#[test]
fn a_server_that_is_not_there_is_a_reason_in_the_status_and_one_line_in_the_log() {
    let place = Place::new("nobody");
    let client = place.start_client();
    let status = client.wait_for_status("a reason", |status| !status["error"].is_null());
    assert_eq!(status["state"], "connecting");
    let error = status["error"].as_str().unwrap();
    assert!(
        error.contains("the server is not reached: Connection refused"),
        "{error}"
    );

    // Somebody who hangs up, and counts: two reasons more (an end, a reset) and many attempts.
    let portal = TcpListener::bind(place.server).unwrap();
    for _ in 0..6 {
        drop(portal.accept().unwrap());
    }
    let log = client.end();
    let lines = log.matches("network=one").count();
    assert!((2..=3).contains(&lines), "{log}");
}

#[test]
fn a_client_that_waited_for_the_server_is_attached_and_not_redirected() {
    let place = Place::new("waiting_client");
    place.write_server("");
    let client = place.start_client();
    client.wait_for_status("an attempt", |status| !status["error"].is_null());
    let server = place.start("server");
    client.wait_for_status("the server", |status| status["state"] == "attached");
    server.wait_for_line("attached client=laptop");
    assert!(!server.end().contains("redirected"));
}

#[test]
fn a_client_that_is_not_known_is_said_by_both_and_goes_on_trying() {
    let place = Place::new("unknown_client");
    place.write_server("");
    let server = place.start("server");
    server.wait_for_line("server up");
    place.run(&["keygen", "stranger.key"]);
    let stranger = key_of(&place, "stranger.key");
    let client = place.start_client_with("key = \"client.key\"", "key = \"stranger.key\"");
    server.wait_for_status("three attempts", |status| {
        status["turned_away"]["unknown_key"].as_u64() >= Some(3)
    });
    let status = client.wait_for_status("a reason", |status| !status["error"].is_null());
    assert_eq!(status["state"], "connecting");
    let wanted = format!("needs a [[client]] with key = \"{stranger}\"");
    assert!(
        status["error"].as_str().unwrap().contains(&wanted),
        "{status}"
    );
    assert_eq!(client.end().matches(&wanted).count(), 1);
    let log = server.end();
    let offered = format!("add a [[client]] with key = \"{stranger}\"");
    assert_eq!(log.matches(&offered).count(), 1, "{log}");
}

#[test]
fn a_server_with_another_key_is_said_with_both_keys_and_tried_again() {
    let place = Place::new("other_server");
    place.write_server("");
    let server = place.start("server");
    server.wait_for_line("server up");
    place.run(&["keygen", "expected.key"]);
    let (met, expected) = (key_of(&place, "server.key"), key_of(&place, "expected.key"));
    let client = place.start_client_with(&met, &expected);
    let wanted = format!("expected \"{expected}\", met \"{met}\"");
    let status = client.wait_for_status("a reason", |status| !status["error"].is_null());
    assert!(
        status["error"].as_str().unwrap().contains(&wanted),
        "{status}"
    );
    assert_eq!(status["state"], "connecting");
    server.wait_for_status("three attempts", |status| turned_away(status) >= 3);
    let log = client.end();
    assert_eq!(log.matches(&wanted).count(), 1, "{log}");
}

#[test]
fn two_devices_with_one_key_are_said_and_the_first_one_stops() {
    let place = Place::new("one_key");
    place.write_server("");
    let server = place.start("server");
    server.wait_for_line("server up");
    let first = place.start_client();
    first.wait_for_status("the first to be let in", |status| {
        status["state"] == "attached"
    });
    let second = place.start_client_with("client.sock", "second.sock");
    let status = first.wait_for_status("the refusal", |status| status["state"] == "refused");
    let wanted = "another client with the same key";
    assert!(
        status["error"].as_str().unwrap().contains(wanted),
        "{status}"
    );
    first.wait_for_line(wanted);
    drop(second);
}

#[test]
fn a_client_of_another_version_is_refused_and_the_log_says_which_is_older() {
    let place = Place::new("other_client_version");
    place.write_server("");
    let server = place.start("server");
    server.wait_for_line("server up");
    let own_key = PrivateKey::load(&place.directory.join("client.key")).unwrap();
    let connector = Connector::new(&own_key, place.server_key()).unwrap();
    for versions in [(VERSION + 1, VERSION + 2), (0, VERSION - 1)] {
        let answer = runtime().block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            let mut conduit = connector.connect(socket, place.server).await.unwrap();
            write(&mut conduit, &Frame::Hello(hello(versions))).await;
            let mut answer = Vec::new();
            conduit.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let mut refused = BytesMut::new();
        let code = RefusedCode::Version;
        encode(&mut refused, &Frame::Refused { code });
        assert!(answer.ends_with(&refused), "{answer:?}");
    }
    let line = server.wait_for_line("other versions of the protocol");
    for part in [
        "laptop",
        "upgrade the server",
        "oldest=2",
        "newest=3",
        "own=1",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn a_server_of_another_version_is_said_and_not_tried_again_at_once() {
    let place = Place::new("other_server_version");
    let key = PrivateKey::load(&place.directory.join("server.key")).unwrap();
    let allowed = AllowedKeys::new([place.client_key()]);
    let acceptor = Acceptor::new(&key, allowed).unwrap();
    let listener = TcpListener::bind(place.server).unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = runtime();
    let refusing = Arc::new(acceptor);
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let refuse = |mut conduit: Conduit, _key| {
            tokio::spawn(async move {
                let code = RefusedCode::Version;
                write(&mut conduit, &Frame::Refused { code }).await;
                conduit.close().await;
            });
        };
        handover_carrier::serve(listener, refusing, refuse).await;
    });
    let client = place.start_client();
    let status = client.wait_for_status("the refusal", |status| status["state"] == "refused");
    let error = status["error"].as_str().unwrap();
    assert!(error.contains("version 1 of the protocol"), "{error}");
    assert!(error.contains("upgrade the older"), "{error}");
    client.wait_for_line("the server refused this client");
}

#[test]
fn a_name_that_cannot_be_resolved_is_said_in_the_status_and_the_log() {
    let place = Place::new("no_name");
    let own = place.server.to_string();
    let client = place.start_client_with(&own, "no-such-host.invalid:7400");
    let wanted = "cannot resolve no-such-host.invalid:7400";
    client.wait_for_line(wanted);
    let status = client.wait_for_status("a reason", |status| !status["error"].is_null());
    assert_eq!(status["state"], "connecting");
    assert!(
        status["error"].as_str().unwrap().contains(wanted),
        "{status}"
    );
    let output = place.run(&["switch", "one", "--control", "client.sock"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(wanted), "{message}");
}

#[test]
fn an_unknown_network_is_a_misuse_that_lists_the_known_ones() {
    let place = Place::new("unknown_network");
    let client = place.start_client();
    client.wait_for_status("an answer", |_| true);
    let output = place.run(&["switch", "three", "--control", "client.sock"]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("known: one, two"), "{message}");
}

#[test]
fn a_hook_that_fails_is_said_to_who_ordered_the_switch() {
    let place = Place::new("failing_hook");
    place.write_server("");
    let server = place.start("server");
    server.wait_for_line("server up");
    let usual = "interface = \"nowhere\"\n";
    let hooked = "interface = \"nowhere\"\nup = \"echo no carrier >&2; exit 5\"\n";
    let client = place.start_client_with(usual, hooked);
    client.wait_for_status("attached", |status| status["state"] == "attached");
    let output = place.run(&["switch", "two", "--control", "client.sock"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let (hook, why) = ("the hook up of", "failed: exit status");
    assert!(message.contains(hook) && message.contains(why), "{message}");
    assert!(
        message.contains("two failed: exit status: 5, \"no carrier\""),
        "{message}"
    );
    client.wait_for_status("the way back", |status| status["network"] == "one");
}

#[test]
fn each_port_of_a_range_leads_to_its_own_target() {
    let place = Place::new("range");
    let host = place.server.ip();
    for target in 9000..=9002_u16 {
        let listener = TcpListener::bind((host, target)).unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                stream.write_all(&target.to_be_bytes()).unwrap();
            }
        });
    }
    place.write_server(&format!(
        "[[service]]\nname = \"range\"\nprotocol = \"tcp\"\ntarget = \"{host}:9000\"\nport = \"7000-7002\"\n"
    ));
    let server = place.start("server");
    server.wait_for_line("server up");
    let client = place.start_client();
    let status = client.wait_for_status("the range", |status| listens_only_on(status, 7000));
    assert_eq!(status["services"][0]["last_port"], 7002);
    for (port, target) in [(7000, 9000), (7001, 9001), (7002, 9002_u16)] {
        let mut stream = TcpStream::connect((host, port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut said = [0; 2];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(u16::from_be_bytes(said), target, "{port}");
    }
}

#[test]
fn services_are_taken_away_and_added_while_connections_live() {
    let place = Place::new("services_change");
    let (first, second) = (Echo::start(), Echo::start());
    place.write_server(&first.service(7000));
    let server = place.start("server");
    server.wait_for_line("server up");
    let client = place.start_client();
    client.wait_for_status("the service", |status| listens_only_on(status, 7000));
    let mut living = place.enter();
    assert_eq!(echoed(&mut living, b"before").unwrap(), b"before");

    place.write_server(&second.service(7001).replace("echo", "other"));
    server.reload();
    server.wait_for_line("configuration read again");
    client.wait_for_status("the other service", |status| listens_only_on(status, 7001));
    assert_eq!(echoed(&mut living, b"after").unwrap(), b"after");
    let gone = TcpStream::connect(place.entrance).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::ConnectionRefused);
    let mut fresh = TcpStream::connect((place.entrance.ip(), 7001)).unwrap();
    fresh.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(echoed(&mut fresh, b"new").unwrap(), b"new");
    let listed = place.run(&["services", "--json", "--control", "server.sock"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["server_services"][0]["name"], "other");
    assert_eq!(listed["server_services"].as_array().map(Vec::len), Some(1));

    // The same service at another target, where nobody listens: so it is with connections from now on.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let moved = Echo {
        address: nobody.unwrap(),
    };
    place.write_server(&moved.service(7001).replace("echo", "other"));
    server.reload();
    server.wait_for_line("configuration read again");
    assert_eq!(echoed(&mut fresh, b"here").unwrap(), b"here");
    let mut refused = TcpStream::connect((place.entrance.ip(), 7001)).unwrap();
    refused.set_read_timeout(Some(LIMIT)).unwrap();
    let reset = echoed(&mut refused, b"there").unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_mistake_in_a_configuration_that_is_read_again_changes_nothing() {
    let place = Place::new("bad_reload");
    let echo = Echo::start();
    place.write_server(&echo.service(7000));
    let server = place.start("server");
    server.wait_for_line("server up");
    let client = place.start_client();
    client.wait_for_status("the service", |status| listens_only_on(status, 7000));
    let mut living = place.enter();
    assert_eq!(echoed(&mut living, b"before").unwrap(), b"before");

    place.write_server(&echo.service(7000).replace("port", "prot"));
    server.reload();
    let line = server.wait_for_line("the configuration stays as it was");
    assert!(
        line.contains("server.toml:11: [[service]] prot: unknown key"),
        "{line}"
    );
    assert_eq!(echoed(&mut living, b"after").unwrap(), b"after");
    assert_eq!(place.ask(b"new").unwrap(), b"new");
}

#[test]
fn a_client_whose_key_is_removed_is_let_go_and_told() {
    let place = Place::new("key_removed");
    let echo = Echo::start();
    place.write_server(&echo.service(7000));
    let server = place.start("server");
    server.wait_for_line("server up");
    let client = place.start_client();
    client.wait_for_status("the service", |status| listens_only_on(status, 7000));
    let mut living = place.enter();
    assert_eq!(echoed(&mut living, b"before").unwrap(), b"before");

    let file = place.directory.join("server.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (known, stranger) = (place.client_key().to_string(), PrivateKey::generate());
    fs::write(
        &file,
        text.replace(&known, &stranger.public_key().to_string()),
    )
    .unwrap();
    server.reload();
    let status = client.wait_for_status("the refusal", |status| status["state"] == "refused");
    let error = status["error"].as_str().unwrap();
    assert!(
        error.contains("does not allow this client's key any more"),
        "{error}"
    );
    server.wait_for_status("the session's end", |status| status["clients"] == json!([]));
}

#[test]
fn a_client_whose_table_changes_begins_a_new_session_by_itself() {
    let place = Place::new("table_changed");
    let echo = Echo::start();
    place.write_server(&echo.service(7000));
    let server = place.start("server");
    server.wait_for_line("server up");
    let client = place.start_client();
    client.wait_for_status("the service", |status| listens_only_on(status, 7000));
    let mut living = place.enter();
    assert_eq!(echoed(&mut living, b"before").unwrap(), b"before");

    let file = place.directory.join("server.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("laptop", "van")).unwrap();
    server.reload();
    server.wait_for_status("the new session", |status| {
        status["clients"][0]["name"] == "van" && status["clients"][0]["state"] == "attached"
    });
    let reset = living.read(&mut [0]).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    assert_eq!(place.ask(b"new").unwrap(), b"new");
}

fn listens_only_on(status: &Value, port: u16) -> bool {
    let services = status["services"].as_array();
    services.is_some_and(|all| {
        all.len() == 1 && all[0]["port"] == port && all[0]["listening"] != json!([])
    })
}

#[test]
fn strangers_at_the_door_are_counted_and_keep_no_client_out() {
    let place = Place::new("strangers");
    let echo = Echo::start();
    place.write_server(&echo.service(place.entrance.port()));
    let server = place.start("server");
    server.wait_for_line("server up");
    let mut strangers: Vec<TcpStream> = Vec::new();
    let mut come = |words: &[u8]| {
        let mut stream = TcpStream::connect(place.server).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(words).unwrap();
        strangers.push(stream);
    };
    for _ in 0..20 {
        come(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
        come(HALF_A_HELLO);
        come(b"");
    }
    let client = place.start_client();
    client.wait_for_status("the client is let in", |status| {
        status["state"] == "attached"
    });
    assert_eq!(place.ask(b"ping").unwrap(), b"ping");
    drip(strangers.last_mut().unwrap());
    let status =
        server.wait_for_status("all to be turned away", |status| turned_away(status) >= 60);
    assert!(
        status["turned_away"]["not_handover"].as_u64() >= Some(20),
        "{status}"
    );
    assert!(
        status["turned_away"]["timed_out"].as_u64() >= Some(40),
        "{status}"
    );
    let log = server.end();
    assert_eq!(log.matches("strangers turned away").count(), 1, "{log}");
}

/// One byte after the other, until the server has enough of it.
fn drip(stream: &mut TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    for byte in HALF_A_HELLO {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        match stream.read(&mut [0; 1]) {
            Ok(_) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    panic!(
        "the server had more patience than {} bytes",
        HALF_A_HELLO.len()
    );
}

#[test]
fn a_client_short_of_descriptors_refuses_new_connections_and_keeps_the_old() {
    let place = Place::new("short_client");
    let echo = Echo::start();
    place.write_server(&echo.service(place.entrance.port()));
    let server = place.start("server");
    server.wait_for_line("server up");
    place.write_client();
    let client = place.start_limited("client", FEW_DESCRIPTORS);
    ensure_short(&place, &client);
    assert_eq!(
        client.end().matches("open files is nearly reached").count(),
        1
    );
}

#[test]
fn a_server_short_of_descriptors_refuses_new_connections_and_keeps_the_old() {
    let place = Place::new("short_server");
    let echo = Echo::start();
    place.write_server(&echo.service(place.entrance.port()));
    let server = place.start_limited("server", FEW_DESCRIPTORS);
    server.wait_for_line("server up");
    let client = place.start_client();
    ensure_short(&place, &client);
    assert_eq!(
        server.end().matches("open files is nearly reached").count(),
        1
    );
}

#[test]
fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let place = Place::new("soft_limit");
    place.write_server("");
    let server = place.start_with("ulimit -Sn 50; ulimit -Hn 300", "server");
    server.wait_for_line("server up");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[3..5], ["300", "300"]);
}

/// Enough for a daemon and some connections.
const FEW_DESCRIPTORS: u32 = 80;

/// Opens more connections than there are descriptors: the first goes on, the last are reset, and when all are gone
/// there is room again.
fn ensure_short(place: &Place, client: &Daemon) {
    client.wait_for_status("the client is let in", |status| {
        status["state"] == "attached"
    });
    let mut first = place.enter();
    assert_eq!(echoed(&mut first, b"first").unwrap(), b"first");
    let mut others: Vec<TcpStream> = (0..FEW_DESCRIPTORS).map(|_| place.enter()).collect();
    let mut refused = 0;
    for stream in &mut others {
        if let Err(error) = echoed(stream, b"more") {
            let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(reset.contains(&error.kind()), "not a reset: {error}");
            refused += 1;
        }
    }
    assert!(refused < others.len(), "none is served");
    assert!(refused > 0, "nothing was refused");
    assert_eq!(echoed(&mut first, b"still").unwrap(), b"still");
    let status = client.wait_for_status("an answer", |_| true);
    assert_eq!(status["state"], "attached", "{status}");

    drop(others);
    let deadline = Instant::now() + LIMIT;
    while place.ask(b"again").is_err() {
        assert!(Instant::now() < deadline, "no room again");
    }
}

fn turned_away(status: &Value) -> u64 {
    let counts = status["turned_away"].as_object().unwrap();
    counts.values().filter_map(Value::as_u64).sum()
}

fn key_of(place: &Place, file: &str) -> String {
    let key = PrivateKey::load(&place.directory.join(file)).unwrap();
    key.public_key().to_string()
}

fn hello((oldest, newest): (u16, u16)) -> Hello {
    Hello {
        oldest,
        newest,
        role: Role::Control,
        instance: Instance(1),
        link: LinkNumber(1),
    }
}

async fn write(conduit: &mut Conduit, frame: &Frame) {
    let mut bytes = BytesMut::new();
    encode(&mut bytes, frame);
    conduit.write_all(&bytes).await.unwrap();
    conduit.flush().await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// The header of a TLS record of 512 bytes with a ClientHello, and the beginning of it.
const HALF_A_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0,
];

fn echoed(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(words)?;
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A server application that says everything again, on threads of this process.
struct Echo {
    address: SocketAddr,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut reader = stream.try_clone().unwrap();
                    let mut writer = stream;
                    // Its end is the connection's, however that ends.
                    drop(std::io::copy(&mut reader, &mut writer));
                });
            }
        });
        Self { address }
    }

    fn service(&self, port: u16) -> String {
        format!(
            "[[service]]\nname = \"echo\"\nprotocol = \"tcp\"\ntarget = \"{}\"\nport = {port}\n",
            self.address
        )
    }
}

/// A directory of one test's own with keys and configurations, gone at its end.
struct Place {
    directory: PathBuf,
    /// Where the server listens.
    server: SocketAddr,
    /// Where the client offers the service.
    entrance: SocketAddr,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("handover-daemons-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        for side in ["server", "client"] {
            PrivateKey::create_file(&directory.join(side).with_extension("key")).unwrap();
        }
        let host = own_host();
        Self {
            directory,
            server: (host, 7400).into(),
            entrance: (host, 7000).into(),
        }
    }

    fn server_key(&self) -> handover_carrier::PublicKey {
        key_of(self, "server.key").parse().unwrap()
    }

    fn client_key(&self) -> handover_carrier::PublicKey {
        key_of(self, "client.key").parse().unwrap()
    }

    fn write_server(&self, services: &str) {
        let text = format!(
            "listen = \"{}\"\nkey = \"server.key\"\ncontrol = \"server.sock\"\n\
             [[client]]\nname = \"laptop\"\nkey = \"{}\"\n{services}",
            self.server,
            self.client_key()
        );
        fs::write(self.directory.join("server.toml"), text).unwrap();
    }

    fn write_client(&self) {
        let text = format!(
            "server = \"{}\"\nserver_key = \"{}\"\nkey = \"client.key\"\ncontrol = \"client.sock\"\n\
             bind = \"{}\"\n\
             [[network]]\nname = \"one\"\ninterface = \"lo\"\naddress = \"127.0.0.2\"\n\
             [[network]]\nname = \"two\"\ninterface = \"nowhere\"\n",
            self.server,
            self.server_key(),
            self.entrance.ip()
        );
        fs::write(self.directory.join("client.toml"), text).unwrap();
    }

    fn start_client(&self) -> Daemon {
        self.write_client();
        self.start("client")
    }

    /// With one thing in its configuration replaced.
    fn start_client_with(&self, usual: &str, other: &str) -> Daemon {
        self.write_client();
        let file = self.directory.join("client.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(usual), "{text}");
        fs::write(&file, text.replace(usual, other)).unwrap();
        self.start("client")
    }

    fn start(&self, role: &str) -> Daemon {
        self.start_with("true", role)
    }

    fn start_limited(&self, role: &str, descriptors: u32) -> Daemon {
        self.start_with(&format!("ulimit -n {descriptors}"), role)
    }

    /// After a shell has done something to itself.
    fn start_with(&self, first: &str, role: &str) -> Daemon {
        let binary = env!("CARGO_BIN_EXE_handover");
        let script = format!("{first}; exec '{binary}' {role} --config {role}.toml");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).current_dir(&self.directory);
        Daemon::start(command, self.directory.join(role).with_extension("sock"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_handover"))
            .args(arguments)
            .current_dir(&self.directory)
            .output()
            .unwrap()
    }

    /// A connection of a client application.
    fn enter(&self) -> TcpStream {
        let stream = TcpStream::connect(self.entrance).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn ask(&self, words: &[u8]) -> std::io::Result<Vec<u8>> {
        echoed(&mut self.enter(), words)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// An address of loopback that no other test has: this process's, and the next of its tests.
fn own_host() -> IpAddr {
    static HOSTS: AtomicU8 = AtomicU8::new(FIRST_HOST);
    let [.., high, low] = std::process::id().to_be_bytes();
    let test = HOSTS.fetch_add(1, Ordering::Relaxed);
    IpAddr::from([127, test, high, low])
}

/// Away from 127.0.0.0/16, which people use, and from 127.77.0.0/16, which the server gives to clients.
const FIRST_HOST: u8 = 100;

/// A running daemon and what it has logged. Dropping it kills it.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
    control: PathBuf,
}

impl Daemon {
    fn start(mut command: Command, control: PathBuf) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                // Nobody listens when the test has ended.
                drop(sender.send(line));
            }
        });
        Self {
            child,
            lines,
            control,
        }
    }

    /// Waits for a line that holds `text`; lines before it are given away.
    fn wait_for_line(&self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no line says {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Asks for the status, again and again, until it is as `wanted`.
    fn wait_for_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let output = Command::new(env!("CARGO_BIN_EXE_handover"))
                .args(["status", "--json", "--control"])
                .arg(&self.control)
                .output()
                .unwrap();
            let status: Value = serde_json::from_slice(&output.stdout).unwrap();
            if output.status.success() && wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited for {what}: {status}");
        }
    }

    /// As a service manager asks it to read its configuration again.
    fn reload(&self) {
        let process = self.child.id().to_string();
        let status = Command::new("kill").args(["-HUP", &process]).status();
        assert!(status.unwrap().success());
    }

    /// Ends it; the rest of its log.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let lines: Vec<String> = self.lines.iter().collect();
        lines.join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It fails only for a daemon that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The texts in the first column of the page are what these tests wait for.
#[test]
fn the_troubleshooting_page_quotes_the_tests() {
    let page = include_str!("../../../docs/troubleshooting.md");
    let tests = [
        include_str!("daemons.rs"),
        include_str!("cli.rs"),
        include_str!("../src/config/tests.rs"),
        include_str!("../src/daemon.rs"),
    ]
    .map(|text| text.replace('\\', ""));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let firsts = rows.filter_map(|row| row.split(" | ").next());
    let mut quoted = 0;
    for first in firsts {
        let quotes: Vec<&str> = match first.strip_prefix("`` ") {
            Some(rest) => rest.split(" ``").take(1).collect(),
            None => first.split('`').skip(1).step_by(2).collect(),
        };
        for quote in quotes {
            quoted += 1;
            let known = tests.iter().any(|text| text.contains(quote));
            assert!(known, "no test waits for {quote:?}");
        }
    }
    assert!(quoted >= 20, "the page has lost its tables: {quoted}");
}
