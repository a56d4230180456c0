//! Addresses of this host that the daemon brings itself.
//!
//! Every address of 127/8 is there on Linux. One of any other block has to be given to the host before a
//! program can bind to it: by the administrator, as an address or as a local route for the whole block,
//! or here, on the loopback interface, where the daemon has CAP_NET_ADMIN.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, UdpSocket};

use futures_util::TryStreamExt as _;
use rtnetlink::{Handle, new_connection};
use tokio::sync::Mutex;
use tracing::debug;

/// Those that this process has given to the host, and how many want each: one that is given up and wanted
/// again at once has to stay.
static GIVEN: Mutex<BTreeMap<IpAddr, usize>> = Mutex::const_new(BTreeMap::new());

/// An address that was given to the host here, and is taken away again when this is dropped within a
/// tokio runtime.
#[derive(Debug)]
pub struct LocalAddress(IpAddr);

impl LocalAddress {
    /// Gives `address` to the host, unless programs can bind to it already: then none.
    ///
    /// # Errors
    ///
    /// If the kernel does not allow it; it takes CAP_NET_ADMIN.
    pub async fn claim(address: IpAddr) -> io::Result<Option<Self>> {
        let mut given = GIVEN.lock().await;
        if let Some(users) = given.get_mut(&address) {
            *users += 1;
            return Ok(Some(Self(address)));
        }
        if UdpSocket::bind((address, 0)).is_ok() {
            return Ok(None);
        }
        change(address, Change::Add).await?;
        given.insert(address, 1);
        Ok(Some(Self(address)))
    }
}

impl Drop for LocalAddress {
    fn drop(&mut self) {
        let address = self.0;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(give_up(address));
        }
    }
}

async fn give_up(address: IpAddr) {
    let mut given = GIVEN.lock().await;
    let Some(users) = given.get_mut(&address) else {
        return;
    };
    *users -= 1;
    if *users > 0 {
        return;
    }
    given.remove(&address);
    if let Err(error) = change(address, Change::Remove).await {
        debug!(%address, "not taken away: {error}");
    }
}

#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

async fn change(address: IpAddr, change: Change) -> io::Result<()> {
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let result = match change {
        Change::Add => add(&handle, address).await,
        Change::Remove => remove(&handle, address).await,
    };
    connection.abort();
    result.map_err(into_io_error)
}

async fn add(handle: &Handle, address: IpAddr) -> Result<(), rtnetlink::Error> {
    let loopback = loopback(handle).await?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let request = handle.address().add(loopback, address, whole);
    request.execute().await
}

async fn remove(handle: &Handle, address: IpAddr) -> Result<(), rtnetlink::Error> {
    let loopback = loopback(handle).await?;
    let found = handle.address().get();
    let found = found
        .set_link_index_filter(loopback)
        .set_address_filter(address);
    let mut messages = found.execute();
    while let Some(message) = messages.try_next().await? {
        handle.address().del(message).execute().await?;
    }
    Ok(())
}

async fn loopback(handle: &Handle) -> Result<u32, rtnetlink::Error> {
    let named = handle.link().get().match_name(LOOPBACK.to_owned());
    let link = named.execute().try_next().await?;
    link.map(|link| link.header.index)
        .ok_or(rtnetlink::Error::RequestFailed)
}

/// The kernel's own error number says more than the library's text.
fn into_io_error(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        return message.to_io();
    }
    io::Error::other(error)
}

const LOOPBACK: &str = "lo";
