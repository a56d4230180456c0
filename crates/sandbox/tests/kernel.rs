//! The sandbox against the real kernel. Where the machine refuses namespaces, every test is reported as
//! ignored, with the reason.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};
use std::thread;

use handover_sandbox::{Entered, Namespace, Route, enter_user_namespace};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

type TestResult = Result<(), Box<dyn Error>>;

const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
/// On the far host's loopback interface: reached by a route only.
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Its bit in a set of capabilities (linux/capability.h).
const CAP_NET_ADMIN: u64 = 1 << 12;

fn main() {
    let mut arguments = Arguments::from_args();
    let entered = enter_user_namespace();
    arguments.test_threads = Some(1);
    let refused = entered.as_ref().err().map(ToString::to_string);
    let trial = |name: &str, test: fn() -> TestResult| {
        let refused = refused.clone();
        Trial::ignorable_test(name, move || match refused {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => test()
                .map(|()| Completion::Completed)
                .map_err(|error| Failed::from(format!("{error:?}"))),
        })
    };
    let mut trials = vec![
        trial("a_connection_crosses_a_virtual_cable", crosses_a_cable),
        trial(
            "a_route_leads_to_an_address_behind_a_gateway",
            follows_a_route,
        ),
        trial(
            "a_link_that_is_down_is_unreachable_until_it_is_up",
            down_and_up,
        ),
        trial("a_removed_address_is_gone", removed_address),
        trial("every_address_of_a_local_range_is_there", local_range),
        trial(
            "an_administrator_may_change_its_namespace_and_the_next_program_not",
            administrator,
        ),
        trial(
            "a_missing_interface_is_named_in_the_error",
            missing_interface,
        ),
        trial(
            "a_program_sees_only_its_namespace",
            program_sees_its_namespace,
        ),
        trial(
            "a_panic_in_a_job_reaches_the_caller",
            panic_reaches_the_caller,
        ),
    ];
    if let Ok(Entered::UserNamespace { .. }) = entered {
        trials.push(trial(
            "programs_are_not_root_and_have_no_capability",
            unprivileged,
        ));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Two hosts with a cable between them, `near` = 10.1.0.2 and `far` = 10.1.0.1.
fn two_hosts() -> Result<(Namespace, Namespace), Box<dyn Error>> {
    let (near, far) = (Namespace::new("near")?, Namespace::new("far")?);
    near.veth("cable0", &far, "cable1")?;
    near.add_address("cable0", NEAR, 24)?;
    far.add_address("cable1", FAR, 24)?;
    near.set_up("cable0")?;
    far.set_up("cable1")?;
    Ok((near, far))
}

/// Sends some bytes from `near` to `address` on `far` and compares what comes back.
fn echoes(near: &Namespace, far: &Namespace, address: IpAddr) -> TestResult {
    let listener = far.run(move || TcpListener::bind((address, 0)))?;
    let target = listener.local_addr()?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _peer) = listener.accept()?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let mut stream = near.run(move || TcpStream::connect(target))?;
    stream.write_all(b"hello")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    assert_eq!(answer, b"hello");
    echo.join().map_err(|_panic| "the echo panicked")??;
    Ok(())
}

fn crosses_a_cable() -> TestResult {
    let (near, far) = two_hosts()?;
    echoes(&near, &far, FAR)
}

fn follows_a_route() -> TestResult {
    let (near, far) = two_hosts()?;
    far.add_address("lo", SERVICE, 32)?;
    let target = SocketAddr::new(SERVICE, 9);
    let before = near
        .run(move || TcpStream::connect(target))
        .expect_err("there is no route yet");
    assert_eq!(before.kind(), ErrorKind::NetworkUnreachable);
    let route = Route::default_by(FAR, "cable0", 100);
    near.add_route(&route)?;
    echoes(&near, &far, SERVICE)?;
    near.remove_route(&route)?;
    let after = near
        .run(move || TcpStream::connect(target))
        .expect_err("the route is gone");
    assert_eq!(after.kind(), ErrorKind::NetworkUnreachable);
    Ok(())
}

fn down_and_up() -> TestResult {
    let (near, far) = two_hosts()?;
    near.set_down("cable0")?;
    let target = SocketAddr::new(FAR, 9);
    let error = near
        .run(move || TcpStream::connect(target))
        .expect_err("the link is down");
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    near.set_up("cable0")?;
    echoes(&near, &far, FAR)
}

fn removed_address() -> TestResult {
    let (near, _far) = two_hosts()?;
    near.remove_address("cable0", NEAR, 24)?;
    let error = near
        .run(|| TcpListener::bind((NEAR, 0)))
        .expect_err("the address is gone");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    Ok(())
}

fn local_range() -> TestResult {
    let (near, far) = two_hosts()?;
    far.add_local_range(IpAddr::from([10, 77, 0, 0]), 16)?;
    near.add_route(&Route::default_by(FAR, "cable0", 100))?;
    echoes(&near, &far, IpAddr::from([10, 77, 3, 4]))
}

fn administrator() -> TestResult {
    let host = Namespace::new("host")?;
    let effective = |program: fn(&Namespace, Command) -> std::io::Result<Child>| {
        let mut cat = Command::new("cat");
        cat.arg("/proc/self/status")
            .stdout(std::process::Stdio::piped());
        let output = program(&host, cat)?.wait_with_output()?;
        let status = String::from_utf8(output.stdout)?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let bits = u64::from_str_radix(line.ok_or("no capabilities")?.trim(), 16)?;
        Ok::<_, Box<dyn Error>>(bits & CAP_NET_ADMIN != 0)
    };
    let before = effective(Namespace::spawn)?;
    assert!(effective(Namespace::spawn_administrator)?);
    assert_eq!(effective(Namespace::spawn)?, before);
    Ok(())
}

fn missing_interface() -> TestResult {
    let host = Namespace::new("host")?;
    let error = host.set_up("wlan9").expect_err("there is no wlan9");
    assert_eq!(error.to_string(), "namespace host: cannot set wlan9 up");
    assert_eq!(error.source.raw_os_error(), Some(nix::libc::ENODEV));
    Ok(())
}

fn program_sees_its_namespace() -> TestResult {
    let (near, _far) = two_hosts()?;
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/net/dev")
        .stdout(std::process::Stdio::piped());
    let output = near.spawn(cat)?.wait_with_output()?;
    let devices = String::from_utf8(output.stdout)?;
    assert!(devices.contains("cable0:"), "{devices}");
    assert!(!devices.contains("eth0:"), "{devices}");
    Ok(())
}

fn panic_reaches_the_caller() -> TestResult {
    let host = Namespace::new("host")?;
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_info| {}));
    let caught = catch_unwind(AssertUnwindSafe(|| host.run(|| panic!("in the job"))));
    std::panic::set_hook(silent);
    let panic = caught.expect_err("the job's panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"in the job"));
    assert_eq!(host.run(|| 7), 7, "the namespace lives on");
    Ok(())
}

fn unprivileged() -> TestResult {
    let host = Namespace::new("host")?;
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/status")
        .stdout(std::process::Stdio::piped());
    let output = host.spawn(cat)?.wait_with_output()?;
    let status = String::from_utf8(output.stdout)?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .map(str::to_owned)
    };
    assert_eq!(field("CapEff:"), Some("0000000000000000".to_owned()));
    assert_ne!(field("Uid:"), Some("0".to_owned()));
    Ok(())
}
