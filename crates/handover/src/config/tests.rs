use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use handover_cnapt::config::{Carrier, Cost, Decision, Standby, Vpn};
use handover_proto::wire::TransportProtocol;
use handover_snapt::config::PortSet;

use super::*;

#[test]
fn a_full_server_configuration_is_read() {
    let place = Place::new("full_server");
    let other = PrivateKey::generate().public_key();
    let config = place
        .server(&format!(
            r#"
            listen = ["0.0.0.0:7400", "[::]:7400"]
            key = "own.key"
            control = "run/server.sock"
            switch_timeout = "90s"
            flow_idle = "5m"
            virtual_ips = "10.77.0.0/16"

            [[client]]
            name = "laptop"
            key = "{PEER}"
            virtual_ip = "127.77.0.10"

            [[client]]
            name = "van"
            key = "{other}"
            services = "80, 9000-9200"

            [[service]]
            name = "web"
            protocol = "tcp"
            target = "127.0.0.1:8080"
            port = 8080

            [[service]]
            name = "rtp"
            protocol = "tcp"
            target = "127.0.0.1:20000"
            port = "10000-10100"
            proxy_protocol = "v2"

            [[service]]
            name = "dns"
            protocol = "udp"
            target = "127.0.0.53:53"
            port = 8080
            "#
        ))
        .unwrap();
    assert_eq!(
        config.listen,
        ["0.0.0.0:7400", "[::]:7400"].map(|text| text.parse().unwrap())
    );
    assert_eq!(config.control, place.directory.join("run/server.sock"));
    assert_eq!(config.switch_timeout, Duration::from_secs(90));
    assert_eq!(config.virtual_ips.to_string(), "10.77.0.0/16");
    assert_eq!(config.clients[0].key.to_string(), PEER);
    assert_eq!(config.clients[0].services, PortSet::unprivileged());
    assert_eq!(config.clients[1].virtual_ip, None);
    assert_eq!(config.clients[1].services.to_string(), "80, 9000-9200");
    assert_eq!(config.services[0].target, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.services[0].ports, 8080..=8080);
    assert_eq!(config.services[1].ports, 10_000..=10_100);
    let told: Vec<bool> = (config.services.iter().map(|one| one.proxy_protocol)).collect();
    assert_eq!(told, [false, true, false]);
    assert_eq!(config.services[2].protocol, TransportProtocol::Udp);
    assert_eq!(config.flow_idle, Duration::from_secs(300));
}

#[test]
fn a_server_needs_only_its_address_and_key() {
    let place = Place::new("small_server");
    let config = place
        .server("listen = \"0.0.0.0:7400\"\nkey = \"own.key\"\n")
        .unwrap();
    assert_eq!(config.switch_timeout, Duration::from_secs(24 * 60 * 60));
    assert_eq!(config.flow_idle, Duration::from_secs(120));
    assert_eq!(config.virtual_ips.to_string(), "127.77.0.0/16");
    assert_eq!(
        config.control,
        PathBuf::from("/somewhere/handover/server.sock")
    );
    assert!(config.clients.is_empty() && config.services.is_empty());
}

#[test]
fn outside_loopback_a_client_may_offer_nothing_unless_it_is_said() {
    let place = Place::new("allowed_ports");
    let config = place
        .server(&format!(
            "{SERVER}virtual_ips = \"10.77.0.0/16\"\n[[client]]\nname = \"van\"\nkey = \"{PEER}\"\n"
        ))
        .unwrap();
    assert_eq!(config.clients[0].services, PortSet::none());
}

#[test]
fn a_full_client_configuration_is_read() {
    let place = Place::new("full_client");
    let config = place
        .client(&format!(
            r#"
            server = ["server.example.org:7400", "192.0.2.1:7400"]
            server_key = "{PEER}"
            key = "own.key"
            control = "/run/elsewhere.sock"
            bind = "192.168.1.1"
            carrier = "tls"
            overlap = false
            decision = "manual"
            notify = "logger handover: $HANDOVER_EVENT $HANDOVER_NETWORK"
            hook_timeout = "45s"

            [[network]]
            name = "wifi"
            interface = "wlan0"

            [[network]]
            name = "lte"
            interface = "wwan0"
            address = "10.1.0.2"
            cost = "metered"
            standby = "yes"
            keepalive = "8s"
            up = "ifup wwan0"
            down = "ifdown wwan0"
            vpn_interface = "wg0"
            vpn_up = "wg-quick up wg0"
            vpn_down = "wg-quick down wg0"
            "#
        ))
        .unwrap();
    assert_eq!(config.server[0].to_string(), "server.example.org:7400");
    assert_eq!(config.server[1].to_string(), "192.0.2.1:7400");
    assert_eq!(config.control, PathBuf::from("/run/elsewhere.sock"));
    assert_eq!(
        config.bind,
        ["192.168.1.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(config.carrier, Carrier::Tls);
    assert!(!config.overlap);
    assert_eq!(config.decision, Decision::Manual);
    assert_eq!(config.networks[0].cost, Cost::Free);
    assert_eq!(config.networks[0].standby, Standby::Auto);
    assert_eq!(
        config.networks[1].address,
        Some("10.1.0.2".parse().unwrap())
    );
    assert_eq!(config.networks[1].cost, Cost::Metered);
    assert_eq!(config.networks[1].standby, Standby::Yes);
    assert_eq!(config.networks[1].keepalive, Some(Duration::from_secs(8)));
    assert_eq!(config.networks[1].up.as_deref(), Some("ifup wwan0"));
    assert_eq!(config.networks[1].down.as_deref(), Some("ifdown wwan0"));
    assert_eq!(
        config.networks[1].vpn,
        Some(Vpn {
            interface: "wg0".into(),
            up: "wg-quick up wg0".into(),
            down: Some("wg-quick down wg0".into()),
        })
    );
    assert_eq!(config.hook_timeout, Duration::from_secs(45));
    assert!(
        config
            .notify
            .is_some_and(|command| command.starts_with("logger"))
    );
}

#[test]
fn the_services_of_a_client_are_read() {
    let place = Place::new("client_services");
    let service = "[[service]]\nname = \"agent\"\nprotocol = \"tcp\"\ntarget = \"127.0.0.1:9000\"\nport = 9001\n";
    let config = place.client(&format!("{CLIENT}{service}")).unwrap();
    let service = &config.services[0];
    assert_eq!(
        (service.name.as_str(), &service.ports),
        ("agent", &(9001..=9001))
    );
    assert_eq!(service.target, "127.0.0.1:9000".parse().unwrap());
}

#[test]
fn a_client_needs_only_the_server_and_its_key() {
    let place = Place::new("small_client");
    let config = place.client(CLIENT).unwrap();
    assert_eq!(config.carrier, Carrier::Auto);
    assert!(config.overlap);
    assert_eq!(config.decision, Decision::Automatic);
    assert_eq!(
        config.bind,
        ["127.0.0.1", "::1"].map(|text| text.parse::<std::net::IpAddr>().unwrap())
    );
    assert_eq!(
        config.control,
        PathBuf::from("/somewhere/handover/client.sock")
    );
    assert!(config.networks.is_empty());
}

#[test]
fn each_mistake_in_a_client_configuration_is_named() {
    let place = Place::new("client_mistakes");
    for (added, complaint) in [
        (
            "overlpa = true",
            "4: overlpa: unknown key, did you mean `overlap`? (allowed: server, server_key, key, control, bind, \
             carrier, overlap, decision, single, notify, hook_timeout, flow_idle, network, service)",
        ),
        (
            "bind = []",
            "4: bind: the list is empty: expected at least one",
        ),
        (
            "bind = [\"127.0.0.1\", \"localhost\"]",
            "4: bind: expected an IP address of this machine, such as \"127.0.0.1\", found \"localhost\"",
        ),
        (
            "bind = [\"::1\",\n\"::1\"]",
            "5: bind: \"::1\" is taken by line 4",
        ),
        (
            "carrier = \"wifi\"",
            "4: carrier: expected \"auto\" or \"tls\" or \"quic\", found \"wifi\"",
        ),
        (
            "decision = \"propose\"",
            "4: decision: \"propose\" is not possible yet: use \"automatic\" or \"manual\"",
        ),
        (
            "overlap = \"yes\"",
            "4: overlap: expected true or false, without quotes, found \"yes\"",
        ),
        ("control = \"\"", "4: control: expected a path, found \"\""),
        (
            "hook_timeout = \"1h\"",
            "4: hook_timeout: expected a time from 1s to 2m, such as \"15s\", found \"1h\"",
        ),
        (
            "single = true\ndecision = \"automatic\"",
            "5: decision: with single = true every switch is ordered, and there is nothing to decide: \
             remove one of the two",
        ),
        (
            "[[service]]\nname = \"agent\"\nprotocol = \"tcp\"\ntarget = \"127.0.0.1:9000\"",
            "4: [[service]] port: missing",
        ),
    ] {
        let error = place.client(&format!("{CLIENT}{added}\n")).unwrap_err();
        assert_eq!(place.complaint(&error), complaint, "{added}");
    }
}

#[test]
fn each_mistake_in_a_network_is_named() {
    let place = Place::new("network_mistakes");
    for (added, complaint) in [
        (
            "[network]\nname = \"wifi\"",
            "4: network: write each one as a table of its own, under [[network]]",
        ),
        (
            "[[network]]\nname = \"wifi\"",
            "4: [[network]] interface: missing",
        ),
        (
            "[[network]]\nname = \"wifi\"\ninterface = \"wlan0\"\ncosts = \"free\"",
            "7: [[network]] costs: unknown key, did you mean `cost`? (allowed: name, interface, address, cost, standby, keepalive, up, down, vpn_interface, vpn_up, vpn_down)",
        ),
        (
            "[[network]]\nname = \"wifi\"\ninterface = \"wlan0\"\ncost = 3",
            "7: [[network]] cost: expected \"free\" or \"metered\" or \"expensive\", found 3",
        ),
        (
            "[[network]]\nname = \"wifi\"\ninterface = \"a-very-long-name\"",
            "6: [[network]] interface: expected a name of 1 to 15 bytes on one line, found \"a-very-long-name\"",
        ),
        (
            "[[network]]\nname = \"wifi\"\ninterface = \"wlan0\"\n\
             [[network]]\nname = \"wifi\"\ninterface = \"wlan1\"",
            "8: [[network]] name: \"wifi\" is taken by line 5",
        ),
        (
            "[[network]]\nname = \"ppp\"\ninterface = \"ppp0\"\ndown = \"poff\"",
            "7: [[network]] down: what is taken down has to be brought up again: add the hook `up`",
        ),
        (
            "[[network]]\nname = \"ppp\"\ninterface = \"ppp0\"\nup = \" \"",
            "7: [[network]] up: the command is empty: remove the key",
        ),
        (
            "[[network]]\nname = \"wifi\"\ninterface = \"wlan0\"\nvpn_up = \"wg-quick up wg0\"",
            "7: [[network]] vpn_up: a VPN has both `vpn_interface`, to which links are bound while it is up, \
             and `vpn_up`, which brings it up",
        ),
        (
            "[[network]]\nname = \"wifi\"\ninterface = \"wlan0\"\nkeepalive = \"10ms\"",
            "7: [[network]] keepalive: expected a time from 1s to 1h, such as \"15s\", found \"10ms\"",
        ),
    ] {
        let error = place.client(&format!("{CLIENT}{added}\n")).unwrap_err();
        assert_eq!(place.complaint(&error), complaint, "{added}");
    }
}

#[test]
fn flows_are_idle_for_whole_seconds() {
    let place = Place::new("flow_idle");
    for wrong in ["0s", "1500ms", "200y"] {
        let error = place
            .client(&format!("{CLIENT}flow_idle = \"{wrong}\"\n"))
            .unwrap_err();
        assert_eq!(
            place.complaint(&error),
            "4: flow_idle: expected a time in whole seconds, such as \"2m\" or \"30s\"",
            "{wrong}"
        );
    }
}

#[test]
fn each_mistake_in_a_server_configuration_is_named() {
    let place = Place::new("server_mistakes");
    let service =
        "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\ntarget = \"127.0.0.1:80\"\nport = 80\n";
    for (added, complaint) in [
        (
            "switch_timeout = \"1 fortnight\"".to_owned(),
            "3: switch_timeout: expected a time such as \"24h\" or \"90s\", found \"1 fortnight\"",
        ),
        (
            "switch_timeout = \"0s\"".to_owned(),
            "3: switch_timeout: expected a time such as \"24h\" or \"90s\", longer than none at all",
        ),
        (
            "virtual_ips = \"127.77.0.1/16\"".to_owned(),
            "3: virtual_ips: the block begins at 127.77.0.0/16: write `127.77.0.0/16`, found \"127.77.0.1/16\"",
        ),
        (
            "[[serivce]]\nname = \"web\"".to_owned(),
            "3: serivce: unknown key, did you mean `service`? (allowed: listen, key, control, switch_timeout, \
             flow_idle, virtual_ips, client, service)",
        ),
        (
            service.replace("target", "traget"),
            "6: [[service]] traget: unknown key, did you mean `target`? (allowed: name, protocol, target, port, \
             proxy_protocol)",
        ),
        (
            service.replace("port = 80", "port = \"80\""),
            "7: [[service]] port: expected a port from 1 to 65535, without quotes, or a range such as \"10000-10100\", found \"80\"",
        ),
        (
            format!("{service}{service}"),
            "9: [[service]] name: \"web\" is taken by line 4",
        ),
        (
            format!("{service}{}", service.replace("web", "other")),
            "12: [[service]] port: 80 is taken by line 7",
        ),
        (
            service.replace("port = 80", "port = 0"),
            "7: [[service]] port: expected a port from 1 to 65535, without quotes, or a range such as \"10000-10100\", found 0",
        ),
        (
            service.replace("port = 80", "port = 65536"),
            "7: [[service]] port: expected a port from 1 to 65535, without quotes, or a range such as \"10000-10100\", found 65536",
        ),
        (
            service.replace("127.0.0.1:80", "localhost:80"),
            "6: [[service]] target: expected an IP address and a port from 1 to 65535, such as \"127.0.0.1:8080\", \
             found \"localhost:80\"",
        ),
        (
            service.replace("tcp", "sctp"),
            "5: [[service]] protocol: expected \"tcp\" or \"udp\", found \"sctp\"",
        ),
        (
            format!("{service}proxy_protocol = \"v1\""),
            "8: [[service]] proxy_protocol: expected \"v2\", found \"v1\"",
        ),
        (
            service.replace("name = \"web\"", "name = \" web\""),
            "4: [[service]] name: expected a name of 1 to 64 bytes on one line, found \" web\"",
        ),
    ] {
        let error = place.server(&format!("{SERVER}{added}\n")).unwrap_err();
        assert_eq!(place.complaint(&error), complaint, "{added}");
    }
}

#[test]
fn each_mistake_about_ports_is_named() {
    let place = Place::new("port_mistakes");
    let service = |name: &str, target: u16, port: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nprotocol = \"tcp\"\ntarget = \"127.0.0.1:{target}\"\nport = {port}\n"
        )
    };
    for (added, complaint) in [
        (
            service("one", 1, "\"9200-9000\""),
            "7: [[service]] port: expected a port from 1 to 65535, without quotes, or a range such as \
             \"10000-10100\", found \"9200-9000\"",
        ),
        (
            service("one", 1, "\"0-10\""),
            "7: [[service]] port: expected a port from 1 to 65535, without quotes, or a range such as \
             \"10000-10100\", found \"0-10\"",
        ),
        (
            service("one", 1, "\"8000-8010\"") + &service("two", 1, "8010"),
            "12: [[service]] port: 8010 is taken by line 7",
        ),
        (
            service("one", 1, "8005") + &service("two", 1, "\"8000-8010\""),
            "12: [[service]] port: 8005 is taken by line 7",
        ),
        (
            service("one", 65_530, "\"8000-8006\""),
            "6: [[service]] target: the range of `port` goes on to port 65536 here: the highest is 65535",
        ),
        (
            service("one", 1, "\"1001-2000\"") + &service("two", 1, "\"3001-3025\""),
            "12: [[service]] port: makes it 1025 ports with those above, and all services together have at most \
             1024, since each takes sockets: give fewer",
        ),
    ] {
        let error = place.server(&format!("{SERVER}{added}")).unwrap_err();
        assert_eq!(place.complaint(&error), complaint, "{added}");
    }
}

#[test]
fn each_mistake_about_a_client_of_the_server_is_named() {
    let place = Place::new("client_table_mistakes");
    let client = format!("[[client]]\nname = \"laptop\"\nkey = \"{PEER}\"\n");
    for (added, complaint) in [
        (
            format!("{client}services = \"0-10\""),
            "6: [[client]] services: expected ports from 1 to 65535 and ranges of them, such as `22, 9000-9200`, \
             found \"0-10\"",
        ),
        (
            format!("{client}{client}"),
            "7: [[client]] name: \"laptop\" is taken by line 4",
        ),
        (
            format!("{client}[[client]]\nname = \"van\"\nkey = \"{PEER}\""),
            "8: [[client]] key: \"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=\" is taken by line 5",
        ),
        (
            "[[client]]\nname = \"laptop\"\nkey = \"secret\"".to_owned(),
            "5: [[client]] key: not a public key: expected the line of 44 characters that `handover keygen` prints",
        ),
        (
            "[[client]]\nname = \"laptop\"\nkey = \"ssh-ed25519 AAAAC3 me\"".to_owned(),
            "5: [[client]] key: this is a key of SSH, which handover does not use: put here the line that \
             `handover keygen` prints",
        ),
        (
            "[[client]]\nname = \"laptop\"\nkey = 7".to_owned(),
            "5: [[client]] key: expected the public key of the other side, in quotes, found 7",
        ),
        (
            "[[client]]\nnaem = \"laptop\"".to_owned(),
            "4: [[client]] naem: unknown key, did you mean `name`? (allowed: name, key, virtual_ip, services)",
        ),
        (
            format!("{client}virtual_ip = \"127.77.0.300\""),
            "6: [[client]] virtual_ip: expected an IP address such as \"127.77.0.10\", found \"127.77.0.300\"",
        ),
        (
            format!("{client}virtual_ip = \"0.0.0.0\""),
            "6: [[client]] virtual_ip: expected an IP address such as \"127.77.0.10\", which is the client's alone",
        ),
    ] {
        let error = place.server(&format!("{SERVER}{added}\n")).unwrap_err();
        assert_eq!(place.complaint(&error), complaint, "{added}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new("missing");
    let error = place.server("key = \"own.key\"\n").unwrap_err();
    assert_eq!(place.complaint(&error), " listen: missing");
    let error = place.server("listen = \"0.0.0.0:7400\"\n").unwrap_err();
    assert_eq!(place.complaint(&error), " key: missing");
    let error = place
        .server("listen = \"0.0.0.0:0\"\nkey = \"own.key\"\n")
        .unwrap_err();
    assert!(
        place
            .complaint(&error)
            .starts_with("1: listen: expected an IP address and a port")
    );
    let error = place.client("key = \"own.key\"\n").unwrap_err();
    assert_eq!(place.complaint(&error), " server_key: missing");
}

#[test]
fn a_key_that_cannot_be_used_is_named() {
    let place = Place::new("bad_key");
    let error = place
        .client(&CLIENT.replace("own.key", "none.key"))
        .unwrap_err();
    let complaint = place.complaint(&error);
    let expected = format!(
        "3: key: cannot read the private key {}:",
        place.directory.join("none.key").display()
    );
    assert!(complaint.starts_with(&expected), "{complaint}");

    let secret = place.directory.join("own.key");
    for mode in [0o640, 0o604] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let complaint = place.complaint(&place.client(CLIENT).unwrap_err());
        let expected = format!(
            "3: key: others can read the private key {}",
            secret.display()
        );
        assert!(complaint.starts_with(&expected), "{complaint}");
        assert!(complaint.contains("run `chmod 600 "), "{complaint}");
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    place.write("");
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o600)).unwrap();
    let error = place
        .client(&CLIENT.replace("own.key", "handover.toml"))
        .unwrap_err();
    let complaint = place.complaint(&error);
    assert!(
        complaint
            .contains("holds no Ed25519 private key in PEM: make one with `handover keygen FILE`"),
        "{complaint}"
    );

    let own = PrivateKey::load(&place.directory.join("own.key"))
        .unwrap()
        .public_key();
    let error = place
        .client(&CLIENT.replace(PEER, &own.to_string()))
        .unwrap_err();
    let complaint = place.complaint(&error);
    assert!(
        complaint.starts_with("2: server_key: this is the client's own"),
        "{complaint}"
    );
    let client = format!("{SERVER}[[client]]\nname = \"laptop\"\nkey = \"{own}\"\n");
    let error = place.server(&client).unwrap_err();
    let complaint = place.complaint(&error);
    assert!(
        complaint.starts_with("5: [[client]] key: this is the server's own"),
        "{complaint}"
    );
}

#[test]
fn a_private_key_in_the_place_of_a_public_one_is_not_repeated() {
    let place = Place::new("leaked");
    let pem = fs::read_to_string(place.directory.join("own.key")).unwrap();
    let secret = pem.lines().nth(1).unwrap();
    let error = place.client(&CLIENT.replace(PEER, secret)).unwrap_err();
    let complaint = place.complaint(&error);
    assert!(
        complaint.starts_with("2: server_key: this is a private key"),
        "{complaint}"
    );
    assert!(!complaint.contains(secret), "{complaint}");
}

#[test]
fn what_is_no_toml_is_named_by_its_line() {
    let place = Place::new("no_toml");
    let error = place
        .server("listen = \"0.0.0.0:7400\"\nkey = own.key\n")
        .unwrap_err();
    let complaint = place.complaint(&error);
    assert!(complaint.starts_with("2: is not TOML: "), "{complaint}");
    assert!(!complaint.contains('\n'), "{complaint}");
}

#[test]
fn a_missing_file_is_named() {
    let error = server(Path::new("/nowhere/server.toml"), &environment()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("/nowhere/server.toml: cannot be read: No such file"),
        "{message}"
    );
}

/// A public key that belongs to nobody.
const PEER: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=";

/// The least that a server is told; what is added begins on line 3.
const SERVER: &str = "listen = \"0.0.0.0:7400\"\nkey = \"own.key\"\n";

/// The least that a client is told; what is added begins on line 4.
const CLIENT: &str = "server = \"server.example.org:7400\"\n\
    server_key = \"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=\"\n\
    key = \"own.key\"\n";

fn environment() -> Environment {
    Environment {
        control: None,
        runtime: Some("/somewhere".into()),
        system: "/run".into(),
    }
}

/// A directory of one test's own with a private key in it, gone at its end.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("handover-config-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        PrivateKey::create_file(&directory.join("own.key")).unwrap();
        Self { directory }
    }

    fn server(&self, text: &str) -> Result<handover_snapt::Config, ConfigError> {
        server(&self.write(text), &environment())
    }

    fn client(&self, text: &str) -> Result<handover_cnapt::Config, ConfigError> {
        client(&self.write(text), &environment())
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.file();
        fs::write(&path, text).unwrap();
        path
    }

    fn file(&self) -> PathBuf {
        self.directory.join("handover.toml")
    }

    /// The error without the file's name, which it must begin with.
    fn complaint(&self, error: &ConfigError) -> String {
        let message = error.to_string();
        let file = format!("{}:", self.file().display());
        message.strip_prefix(&file).expect(&message).to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}
