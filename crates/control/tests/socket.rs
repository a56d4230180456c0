//! A daemon and its commands, over real Unix sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;

use handover_control::{
    BindError, COMMANDS_WAITING, Client, ClientError, ClientServiceState, ClientServiceStatus,
    Command, Environment, Failure, Listener, Network, NetworkState, Networks, Protocol,
    ServerStatus, Services, Status, SwitchReply, TurnedAway,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

#[tokio::test]
async fn each_command_is_answered_by_the_daemon() {
    let place = Place::new("answers");
    let daemon = place.daemon();
    let mut client = Client::connect(&daemon.path).await.unwrap();
    assert_eq!(client.status().await.unwrap(), status());
    assert_eq!(client.networks().await.unwrap(), networks());
    assert_eq!(client.services().await.unwrap(), services());
    let reply = client.switch("wifi").await.unwrap();
    assert!(reply.already_there && reply.entry.is_none());
    let ClientError::Refused(failure) = client.trace().await.unwrap_err() else {
        panic!("the daemon refuses a trace");
    };
    assert_eq!(failure, Failure::failed("no switch yet"));
    let ClientError::Refused(failure) = client.switch("käse & co").await.unwrap_err() else {
        panic!("the daemon refuses an unknown network");
    };
    assert_eq!(
        failure,
        Failure::misuse("no network \"käse & co\": there are wifi")
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_disturb_the_daemon() {
    let place = Place::new("hang_up");
    let listener = place.listen();
    let path = listener.path().to_owned();
    let (sender, mut commands) = mpsc::channel(COMMANDS_WAITING);
    let server = tokio::spawn(listener.serve(sender));

    let impatient = tokio::spawn({
        let path = path.clone();
        async move { Client::connect(&path).await.unwrap().switch("lte").await }
    });
    let Some(Command::Switch { reply, .. }) = commands.recv().await else {
        panic!("the order arrives");
    };
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    reply.send(Err(Failure::failed("nobody hears this")));

    let daemon = tokio::spawn(answer_all(commands));
    let mut client = Client::connect(&path).await.unwrap();
    assert_eq!(client.status().await.unwrap(), status());
    daemon.abort();
    server.abort();
}

#[tokio::test]
async fn a_command_that_the_daemon_drops_fails_and_the_socket_goes_with_the_daemon() {
    let place = Place::new("stopping");
    let listener = place.listen();
    let path = listener.path().to_owned();
    let (sender, mut commands) = mpsc::channel(COMMANDS_WAITING);
    let server = tokio::spawn(listener.serve(sender));
    let mut client = Client::connect(&path).await.unwrap();
    let asked = tokio::spawn(async move { client.status().await });
    drop(commands.recv().await.unwrap());
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the daemon is stopping");

    drop(commands);
    server.await.unwrap();
    assert!(!path.exists());
    let error = Client::connect(&path).await.unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
}

#[tokio::test]
async fn only_the_owner_may_open_the_socket() {
    let place = Place::new("mode");
    let listener = place.listen();
    let mode = fs::metadata(listener.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_takes_nothing_from_the_first() {
    let place = Place::new("second");
    let daemon = place.daemon();
    let error = Listener::bind(&daemon.path, &place.environment()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    let mut client = Client::connect(&daemon.path).await.unwrap();
    assert_eq!(client.status().await.unwrap(), status());
}

#[tokio::test]
async fn the_socket_of_a_dead_daemon_is_replaced() {
    let place = Place::new("stale");
    let path = place.directory.join("client.sock");
    drop(StdUnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead daemon leaves its file");
    let error = Client::connect(&path).await.unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
    let listener = place.listen();
    assert_eq!(listener.path(), path);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let place = Place::new("file");
    let path = place.directory.join("client.sock");
    fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&path, &place.environment()).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_missing_directory_is_made_only_where_sockets_belong() {
    let place = Place::new("directory");
    let environment = Environment {
        runtime: Some(place.directory.join("runtime")),
        ..place.environment()
    };
    let path = place.directory.join("runtime/handover/client.sock");
    let listener = Listener::bind(&path, &environment).unwrap();
    let parent = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(parent.permissions().mode() & 0o777, 0o700);
    drop(listener);

    let elsewhere = place.directory.join("elsewhere/client.sock");
    let error = Listener::bind(&elsewhere, &environment).unwrap_err();
    assert!(matches!(error, BindError::Os { .. }), "{error}");
    assert!(!elsewhere.parent().unwrap().exists());
}

fn status() -> Status {
    Status::Server(ServerStatus {
        turned_away: TurnedAway::default(),
        clients: Vec::new(),
        listen: vec!["127.0.0.1:7400".parse().unwrap()],
        error: None,
    })
}

fn services() -> Services {
    Services {
        server_services: Vec::new(),
        client_services: vec![ClientServiceStatus {
            client: None,
            name: "agent".into(),
            protocol: Protocol::Tcp,
            port: 9000,
            last_port: 9000,
            virtual_ip: None,
            target: Some("127.0.0.1:9000".parse().unwrap()),
            state: ClientServiceState::Waiting,
            error: None,
        }],
    }
}

fn networks() -> Networks {
    let network = Network {
        name: "wifi".into(),
        interface: "wlan0".into(),
        state: NetworkState::Available,
        address: Some("10.1.0.2".parse().unwrap()),
        current: true,
        standby: false,
        reason: None,
    };
    Networks {
        networks: vec![network],
    }
}

async fn answer_all(mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Status(reply) => reply.send(status()),
            Command::Networks(reply) => reply.send(Ok(networks())),
            Command::Services(reply) => reply.send(services()),
            Command::Switch { network, reply } if network == "wifi" => {
                reply.send(Ok(SwitchReply {
                    entry: None,
                    already_there: true,
                }));
            }
            Command::Switch { network, reply } => {
                let message = format!("no network {network:?}: there are wifi");
                reply.send(Err(Failure::misuse(message)));
            }
            Command::Trace(reply) => reply.send(Err(Failure::failed("no switch yet"))),
        }
    }
}

/// A directory of one test's own, gone at its end.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("handover-control-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self { directory }
    }

    fn environment(&self) -> Environment {
        Environment {
            control: None,
            runtime: None,
            system: self.directory.join("run"),
        }
    }

    fn listen(&self) -> Listener {
        Listener::bind(&self.directory.join("client.sock"), &self.environment()).unwrap()
    }

    fn daemon(&self) -> Daemon {
        let listener = self.listen();
        let path = listener.path().to_owned();
        let (sender, receiver) = mpsc::channel(COMMANDS_WAITING);
        let tasks = [
            tokio::spawn(listener.serve(sender)),
            tokio::spawn(answer_all(receiver)),
        ];
        Daemon { path, tasks }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// A daemon that answers, until it is dropped.
struct Daemon {
    path: PathBuf,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
