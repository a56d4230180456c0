//! Following a real kernel: a host with two uplinks in namespaces of the test's own. Where the
//! machine refuses namespaces, every test is reported as ignored, with the reason.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use handover_network::{Kind, LocalAddress, Snapshot, Unusable, Watch};
use handover_sandbox::{Namespace, Route, enter_user_namespace};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

type TestResult = Result<(), Box<dyn Error>>;

const WIFI: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
const MODEM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80));

fn main() {
    let mut arguments = Arguments::from_args();
    let refused = enter_user_namespace()
        .err()
        .map(|refusal| refusal.to_string());
    arguments.test_threads = Some(1);
    let trial = |name: &str, test: fn() -> TestResult| {
        let refused = refused.clone();
        Trial::ignorable_test(name, move || match refused {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => test()
                .map(|()| Completion::Completed)
                .map_err(|error| Failed::from(format!("{error:?}"))),
        })
    };
    let trials = vec![
        trial(
            "the_first_snapshot_is_complete",
            the_first_snapshot_is_complete,
        ),
        trial(
            "every_loss_of_a_network_is_told",
            every_loss_of_a_network_is_told,
        ),
        trial("a_removed_interface_is_gone", a_removed_interface_is_gone),
        trial(
            "more_changes_than_fit_lose_nothing",
            more_changes_than_fit_lose_nothing,
        ),
        trial(
            "an_address_that_is_given_up_and_wanted_again_stays",
            an_address_that_is_given_up_and_wanted_again_stays,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// A client that is released and comes back in the same moment.
fn an_address_that_is_given_up_and_wanted_again_stays() -> TestResult {
    const VIRTUAL_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9));
    let server = Namespace::new("server")?;
    let done = server.run(|| -> std::io::Result<()> {
        let is_there = || UdpSocket::bind((VIRTUAL_IP, 0)).is_ok();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let first = LocalAddress::claim(VIRTUAL_IP).await?;
            assert!(first.is_some() && is_there());
            drop(first);
            let second = LocalAddress::claim(VIRTUAL_IP).await?;
            // The first one's farewell has its turn before the next claim.
            tokio::task::yield_now().await;
            let third = LocalAddress::claim(VIRTUAL_IP).await?;
            assert!(second.is_some() && third.is_some() && is_there());
            drop((second, third));
            let gone = async {
                while is_there() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, gone).await?;
            Ok(())
        })
    });
    Ok(done?)
}

fn the_first_snapshot_is_complete() -> TestResult {
    let host = Host::new()?;
    let snapshot = host.watch.snapshot();
    assert_eq!(snapshot.usable("wlan0", None, SERVER), Ok(WIFI));
    assert_eq!(snapshot.usable("wwan0", Some(MODEM), SERVER), Ok(MODEM));
    assert_eq!(snapshot.candidates(SERVER), ["wlan0", "wwan0"]);
    let gateway = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1));
    assert_eq!(snapshot.gateway("wwan0", SERVER), Some(gateway));
    let kind = |name| {
        snapshot
            .interfaces
            .iter()
            .find(|one| one.name == name)
            .map(|one| one.kind)
    };
    assert_eq!(kind("wlan0"), Some(Kind::Veth));
    assert_eq!(kind("lo"), Some(Kind::Loopback));
    Ok(())
}

fn every_loss_of_a_network_is_told() -> TestResult {
    let mut host = Host::new()?;
    let no_route = Err(Unusable::NoRoute { server: SERVER });
    host.device.remove_route(&host.wifi_route)?;
    host.wait_until(|now| now.usable("wlan0", None, SERVER) == no_route)?;
    host.device.add_route(&host.wifi_route)?;
    host.wait_until(|now| now.usable("wlan0", None, SERVER) == Ok(WIFI))?;

    let other = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 77));
    host.device.add_address("wlan0", other, 24)?;
    host.device.remove_address("wlan0", WIFI, 24)?;
    let gone = Err(Unusable::AddressNotThere { address: WIFI });
    host.wait_until(|now| now.usable("wlan0", Some(WIFI), SERVER) == gone)?;

    host.device.set_down("wwan0")?;
    host.wait_until(|now| now.usable("wwan0", None, SERVER) == Err(Unusable::Down))?;
    // The far end of the cable: the near one is switched on, but has no carrier.
    host.network.set_down("far-wlan0")?;
    host.wait_until(|now| now.usable("wlan0", None, SERVER) == Err(Unusable::Down))
}

fn a_removed_interface_is_gone() -> TestResult {
    let mut host = Host::new()?;
    host.device.remove_link("wwan0")?;
    host.wait_until(|now| now.usable("wwan0", None, SERVER) == Err(Unusable::NoSuchInterface))?;
    assert_eq!(host.watch.snapshot().candidates(SERVER), ["wlan0"]);
    Ok(())
}

/// The watch does not run while the changes are made, so the kernel has to drop most of them: the
/// last ones are among these.
fn more_changes_than_fit_lose_nothing() -> TestResult {
    let mut host = Host::new()?;
    for number in 0..CHANGES {
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 9, 0, 1).to_bits() + number);
        host.device.add_address("wlan0", address.into(), 32)?;
        host.device.remove_address("wlan0", address.into(), 32)?;
    }
    host.device.set_down("wlan0")?;
    host.wait_until(|now| now.usable("wlan0", None, SERVER) == Err(Unusable::Down))?;
    host.device.set_up("wlan0")?;
    host.wait_until(|now| {
        now.interfaces
            .iter()
            .any(|one| one.name == "wlan0" && one.up)
    })
}

/// Each is two address and two route messages; a socket of the largest size takes a few thousand.
const CHANGES: u32 = 4_000;

/// A device with two uplinks, each with a default route, and the watch that follows it.
struct Host {
    runtime: Runtime,
    watch: Watch,
    device: Namespace,
    network: Namespace,
    wifi_route: Route,
}

impl Host {
    fn new() -> Result<Self, Box<dyn Error>> {
        let (device, network) = (Namespace::new("device")?, Namespace::new("network")?);
        let cable = |name: &str, address: IpAddr, gateway: Ipv4Addr, metric: u32| {
            let far = format!("far-{name}");
            device.veth(name, &network, &far)?;
            device.add_address(name, address, 24)?;
            network.add_address(&far, gateway.into(), 24)?;
            network.set_up(&far)?;
            device.set_up(name)?;
            let route = Route::default_by(gateway.into(), name, metric);
            device.add_route(&route).map(|()| route)
        };
        let wifi_route = cable("wlan0", WIFI, Ipv4Addr::new(10, 1, 0, 1), 100)?;
        cable("wwan0", MODEM, Ipv4Addr::new(10, 2, 0, 1), 200)?;
        // The watch follows the namespace of the thread that starts it.
        let (runtime, watch) = device.run(|| -> std::io::Result<_> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let watch = runtime.block_on(Watch::start())?;
            Ok((runtime, watch))
        })?;
        Ok(Self {
            runtime,
            watch,
            device,
            network,
            wifi_route,
        })
    }

    fn wait_until(&mut self, reached: impl Fn(&Snapshot) -> bool) -> TestResult {
        let Self { runtime, watch, .. } = self;
        let waiting = async {
            while !reached(&watch.snapshot()) {
                watch.changed().await;
            }
        };
        let in_time = runtime.block_on(async { timeout(PATIENCE, waiting).await });
        in_time.map_err(|_| format!("still {:#?}", watch.snapshot()).into())
    }
}

/// Changes are told within milliseconds; the kernel itself may hold one back for a second.
const PATIENCE: Duration = Duration::from_secs(5);
