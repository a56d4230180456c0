//! The network of the loopback stage: it carries connections to the server, until it is cut.
//!
//! A cut names a source address. From then on nothing of a connection from there is carried any more, in either
//! direction, old connection or new; and nobody is told: both ends keep an open TCP connection whose other side is
//! silent. That is what a dead radio link looks like.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Listens on a loopback address in front of the server.
#[derive(Debug)]
pub(super) struct Forwarder {
    address: SocketAddr,
    cut: watch::Sender<Option<IpAddr>>,
    task: JoinHandle<()>,
}

impl Forwarder {
    /// Carries everything that connects to it to `target`.
    pub(super) fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (cut, watched) = watch::channel(None);
        let task = tokio::spawn(serve(TcpListener::from_std(listener)?, target, watched));
        Ok(Self { address, cut, task })
    }

    /// Where to connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts off everything that comes from `source`, for good.
    pub(super) fn cut(&self, source: IpAddr) {
        self.cut.send_replace(Some(source));
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, cut: watch::Receiver<Option<IpAddr>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, source)) => {
                    connections.spawn(carry(near, source.ip(), target, cut.clone()));
                }
                // The client sees that nobody answers, and tries again.
                Err(error) => tracing::debug!(%error, "the forwarder does not accept"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(
    mut near: TcpStream,
    source: IpAddr,
    target: SocketAddr,
    mut cut: watch::Receiver<Option<IpAddr>>,
) {
    let mut far = None;
    let both_ways = async {
        let far = far.insert(TcpStream::connect(target).await?);
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        tokio::io::copy_bidirectional(&mut near, far).await
    };
    let silence = cut.wait_for(|cut| *cut == Some(source));
    tokio::select! {
        biased;
        Ok(_) = silence => {}
        // However it ended, both sockets close now, and so each side sees the other's end.
        _ = both_ways => return,
    }
    // Both sockets stay open.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    use super::*;

    const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 2));
    const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2));

    async fn connect(source: IpAddr, forwarder: &Forwarder) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        socket.connect(forwarder.address()).await.unwrap()
    }

    async fn echoes(stream: &mut TcpStream) -> bool {
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        // Long for a loopback echo, short for a test that expects none.
        match timeout(Duration::from_millis(300), stream.read_exact(&mut answer)).await {
            Ok(read) => read.is_ok() && answer == *b"hello",
            Err(_) => false,
        }
    }

    #[tokio::test]
    async fn a_cut_is_silent_and_hits_one_source_only() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = echo.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    tokio::io::copy(&mut reader, &mut writer).await
                });
            }
        });
        let forwarder = Forwarder::start(target).unwrap();
        let mut first = connect(FIRST, &forwarder).await;
        let mut second = connect(SECOND, &forwarder).await;
        assert!(echoes(&mut first).await && echoes(&mut second).await);

        forwarder.cut(FIRST);
        assert!(!echoes(&mut first).await, "cut");
        let end = timeout(Duration::from_millis(50), first.read_u8()).await;
        assert!(end.is_err(), "neither an end nor an error is seen: {end:?}");
        assert!(!echoes(&mut connect(FIRST, &forwarder).await).await);
        assert!(echoes(&mut second).await, "the other source is not cut");
        assert!(echoes(&mut connect(SECOND, &forwarder).await).await);
    }
}
