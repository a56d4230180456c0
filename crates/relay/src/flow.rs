//! The sockets of flows: where datagrams of applications come in, and where they go out.
//!
//! At the opener an emulation socket takes the datagrams of every application that sends to it, and answers leave
//! by the same one. At the acceptor each flow has a connected socket of its own, so that the application there
//! sees one address and port for as long as the flow lives. A socket that takes no datagram at once, because its
//! application does not read, drops it, as the network would. An ICMP error says that nobody listens: UDP tells
//! this to whoever sends next, and here it means no more than that one datagram is lost.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;

use bytes::Bytes;
use handover_proto::FlowId;
use handover_proto::flow::Association;
use handover_proto::wire::Request;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::trace;

use crate::hub::{Hub, Session};
use crate::read_buffer;

/// Where the datagrams of a flow go out.
#[derive(Debug)]
pub(crate) struct Exit {
    socket: Arc<UdpSocket>,
    /// None if the socket is connected.
    application: Option<SocketAddr>,
    /// The task that reads what the application answers, where the socket is the flow's own.
    answers: Option<AbortHandle>,
}

impl Drop for Exit {
    fn drop(&mut self) {
        if let Some(task) = &self.answers {
            task.abort();
        }
    }
}

/// What is to be done for a flow once the lock is released.
#[derive(Debug)]
pub(crate) enum Errand {
    Deliver(Delivery),
    /// Closing a socket is a system call, too.
    LetGo(Exit),
}

/// A datagram for an application.
#[derive(Debug)]
pub(crate) struct Delivery {
    socket: Arc<UdpSocket>,
    application: Option<SocketAddr>,
    payload: Bytes,
}

impl Exit {
    pub(crate) fn delivery(&self, payload: Bytes) -> Delivery {
        Delivery {
            socket: Arc::clone(&self.socket),
            application: self.application,
            payload,
        }
    }
}

impl Delivery {
    /// Whether the application's socket took it.
    pub(crate) fn send(&self) -> bool {
        match self.send_once() {
            // The kernel tells of an earlier datagram instead of sending this one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.send_once().is_ok()
            }
            Err(error) => {
                trace!("datagram dropped: {error}");
                false
            }
            Ok(_) => true,
        }
    }

    /// Asks the kernel itself: tokio would first wait for it to say that a new socket can be written to.
    fn send_once(&self) -> io::Result<usize> {
        let socket = SockRef::from(&*self.socket);
        match self.application {
            Some(application) => socket.send_to(&self.payload, &application.into()),
            None => socket.send(&self.payload),
        }
    }
}

impl<S: Session> Hub<S> {
    /// Serves the application at the other end of this connected socket as the one that `request` asks for, if
    /// `flow` still waits for it.
    pub(crate) fn spawn_flow(self: &Arc<Self>, flow: FlowId, request: &Request, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let answers = self.spawn(read_answers(Arc::clone(self), flow, Arc::clone(&socket)));
        let exit = Exit {
            socket,
            application: None,
            answers: Some(answers.abort_handle()),
        };
        let unwanted = self.with_core(|core, _| {
            let flows = core.machine.streams_mut().flows_mut();
            if !flows.awaits(flow, request) {
                return Some(exit);
            }
            flows.connected(flow);
            core.exits.insert(flow, exit)
        });
        // Outside the lock.
        drop(unwanted);
    }

    fn take_datagram(
        &self,
        association: Association,
        request: &Request,
        payload: Bytes,
        socket: &Arc<UdpSocket>,
    ) {
        self.with_core(|core, now| {
            let streams = core.machine.streams_mut();
            let flow = streams.send_datagram(association, request, payload, now);
            core.exits.entry(flow).or_insert_with(|| Exit {
                socket: Arc::clone(socket),
                application: Some(association.application),
                answers: None,
            });
        });
    }
}

/// Takes what applications send to this emulation socket, for ever. It is of the service that has this name.
pub(crate) async fn serve_datagrams<S: Session>(
    socket: UdpSocket,
    entrance: SocketAddr,
    service: watch::Receiver<String>,
    hub: Arc<Hub<S>>,
) {
    let socket = Arc::new(socket);
    let mut request = Request {
        service: String::new(),
        port: entrance.port(),
        origin: entrance,
    };
    while socket.readable().await.is_ok() {
        let mut buffer = read_buffer::take();
        match socket.try_recv_buf_from(&mut buffer) {
            Ok((_, application)) => {
                request.service.clone_from(&service.borrow());
                request.origin = without_scope(application);
                let association = Association {
                    entrance,
                    application,
                };
                let payload = read_buffer::keep(buffer);
                hub.take_datagram(association, &request, payload, &socket);
            }
            Err(error) => {
                read_buffer::give_back(buffer);
                if error.kind() != io::ErrorKind::WouldBlock {
                    trace!(%entrance, "emulation socket: {error}");
                }
            }
        }
    }
}

async fn read_answers<S: Session>(hub: Arc<Hub<S>>, flow: FlowId, socket: Arc<UdpSocket>) {
    while socket.readable().await.is_ok() {
        let mut buffer = read_buffer::take();
        match socket.try_recv_buf(&mut buffer) {
            Ok(_) => {
                let payload = read_buffer::keep(buffer);
                hub.with(|machine, now| machine.streams_mut().answer_datagram(flow, payload, now));
            }
            Err(error) => {
                read_buffer::give_back(buffer);
                if error.kind() != io::ErrorKind::WouldBlock {
                    trace!(%flow, "application: {error}");
                }
            }
        }
    }
}

/// The scope of a link-local address means something on this host only.
fn without_scope(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket as Peer};

    use super::*;

    #[tokio::test]
    async fn that_nobody_listened_before_does_not_cost_the_next_datagram() {
        let place = Peer::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = place.local_addr().unwrap();
        drop(place);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(address).await.unwrap();
        let exit = Exit {
            socket: Arc::new(socket),
            application: None,
            answers: None,
        };
        assert!(exit.delivery(Bytes::from_static(b"to nobody")).send());
        let peer = Peer::bind(address).unwrap();
        assert!(exit.delivery(Bytes::from_static(b"hello")).send());
        let mut buffer = [0; 16];
        let length = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello");
    }
}
