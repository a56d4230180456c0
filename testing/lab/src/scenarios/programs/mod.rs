//! Programs that nobody here wrote, with protocols that have hard cases: each lives through a planned and an unexpected
//! switch, both in the middle of something, and notices nothing.

mod dns;
mod ftp;
mod iperf3;
mod postgresql;
mod samba;
mod vnc;

use anyhow::Result;

use super::sky::{Disturbance, Sky, order_other};
use crate::facility::Facility;
use crate::handover::Handover;
use crate::scenario::{Lab, Scenario};

pub(super) const POSTGRESQL: Scenario = Scenario {
    name: "postgresql",
    about: "a PostgreSQL session in a transaction lives through both kinds of switch",
    needs: &[
        Facility::Tun,
        Facility::OrdinaryUser("PostgreSQL"),
        Facility::Program("postgres"),
        Facility::Program("initdb"),
        Facility::Program("psql"),
    ],
    run: postgresql::run,
};

pub(super) const SAMBA: Scenario = Scenario {
    name: "samba",
    about: "an SMB session copies files, there and back, through both kinds of switch",
    needs: &[
        Facility::Tun,
        Facility::Program("smbd"),
        Facility::Program("smbclient"),
    ],
    run: samba::run,
};

pub(super) const VNC: Scenario = Scenario {
    name: "vnc",
    about: "a VNC session shows a screen through both kinds of switch",
    needs: &[
        Facility::Tun,
        Facility::Program("Xtigervnc"),
        Facility::Program("xkbcomp"),
        Facility::Program("vncsnapshot"),
    ],
    run: vnc::run,
};

pub(super) const FTP: Scenario = Scenario {
    name: "ftp_active",
    about: "an FTP server connects back to its client, through both kinds of switch",
    needs: &[
        Facility::Tun,
        Facility::Program("vsftpd"),
        Facility::Program("curl"),
    ],
    run: ftp::run,
};

pub(super) const DNS: Scenario = Scenario {
    name: "dns",
    about: "questions over UDP are answered through both kinds of switch",
    needs: &[
        Facility::Tun,
        Facility::Program("dnsmasq"),
        Facility::Program("dig"),
    ],
    run: dns::run,
};

pub(super) const IPERF3: Scenario = Scenario {
    name: "iperf3_udp",
    about: "iperf3 sends datagrams both ways through both kinds of switch",
    needs: &[Facility::Tun, Facility::Program("iperf3")],
    run: iperf3::run,
};

/// An application in a session with its server.
trait Dialogue {
    /// Begins something that is still under way when this returns.
    fn ask(&mut self) -> Result<()>;

    /// Waits for its end, which must be a good one.
    fn hear(&mut self) -> Result<()>;
}

/// Both switches, each in the middle of something.
fn live_through(
    lab: &Lab,
    sky: &mut Sky,
    handover: &mut Handover,
    dialogue: &mut impl Dialogue,
) -> Result<()> {
    dialogue.ask()?;
    dialogue.hear()?;
    dialogue.ask()?;
    order_other(lab, &handover.client)?;
    dialogue.hear()?;
    dialogue.ask()?;
    sky.strike_current(lab, &mut handover.client, Disturbance::SilentCut)?;
    dialogue.hear()
}
