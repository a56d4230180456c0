//! The scenarios, one file each.

mod first_session;
mod lab_address;
mod lab_curl;
mod lab_cut;
mod lab_link;
mod lab_link_down;
mod lab_openssh;
mod lab_readers;
mod main_job;

use crate::facility::Facility;
use crate::openssh;
use crate::scenario::Scenario;

/// All of them, in the order in which they run: the lab's own first, since the others stand on it.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "lab_link",
        about: "an emulated link carries every byte, late and with losses",
        needs: &[Facility::Tun],
        run: lab_link::run,
    },
    Scenario {
        name: "lab_cut",
        about: "a silent cut stops everything and tells nobody; after it the connection goes on",
        needs: &[Facility::Tun],
        run: lab_cut::run,
    },
    Scenario {
        name: "lab_link_down",
        about: "an interface that is down takes its route with it, and comes back",
        needs: &[Facility::Tun],
        run: lab_link_down::run,
    },
    Scenario {
        name: "lab_address",
        about: "after a change of address the old one is gone and the new one works",
        needs: &[Facility::Tun],
        run: lab_address::run,
    },
    Scenario {
        name: "lab_readers",
        about: "readers that stand still, are slow or half-closed get every byte",
        needs: &[],
        run: lab_readers::run,
    },
    Scenario {
        name: "lab_openssh",
        about: "OpenSSH runs in the lab; a login echoes a counter",
        needs: &openssh::NEEDS,
        run: lab_openssh::run,
    },
    Scenario {
        name: "lab_curl",
        about: "curl fetches a file over an emulated link",
        needs: &[Facility::Tun, Facility::Program("curl")],
        run: lab_curl::run,
    },
    Scenario {
        name: "first_session",
        about: "curl and an echo live through a planned and an unexpected switch, in the spec's order",
        needs: &[Facility::Tun, Facility::Program("curl")],
        run: first_session::run,
    },
    Scenario {
        name: "main_job",
        about: "every kind of application lives through six planned and six unexpected switches",
        needs: &main_job::NEEDS,
        run: main_job::run,
    },
];
