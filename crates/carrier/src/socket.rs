//! The options of a TCP socket that carries a conduit; the same on both sides.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Sets what every conduit's socket needs. On the connecting side this comes before the connect,
/// which it bounds too. An idle conduit is probed after `keepalive`.
pub(crate) fn prepare(socket: &SockRef<'_>, keepalive: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(keepalive)
            .with_interval(KEEPALIVE_INTERVAL.min(keepalive))
            .with_retries(KEEPALIVE_RETRIES),
    )
}

/// How much unsent data the kernel takes. What the kernel holds cannot change to another network,
/// so it is kept small; below 128 KiB a fast path waits for the sender to wake up.
const NOT_SENT_BYTES: u32 = 128 * 1024;

/// How long sent data may stay unacknowledged. Longer outages are the session's to survive, on new
/// conduits; a socket that outlives its link would deliver late when its address returns.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often an idle conduit is asked by the device, behind whose NATs it must not be forgotten while the link
/// lives: as often as the link itself shows that it does, so that a radio wakes for both at once.
pub(crate) const KEEPALIVE_CONNECTED: Duration = Duration::from_secs(15);

/// And by the server, to which a device that has gone says nothing.
pub(crate) const KEEPALIVE_ACCEPTED: Duration = Duration::from_secs(60);

/// At most as long as the idle time: Linux waits for it behind each question, even an answered one. With
/// [`KEEPALIVE_RETRIES`], a vanished peer is noticed within the time that [`USER_TIMEOUT`] allows.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// See [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_RETRIES: u32 = 3;
