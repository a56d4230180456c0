//! Server applications of the lab's own: small, plain, and on threads, so that nothing of the product is
//! in them. Each serves every connection on a thread, as long as the process lives.

mod discard;
mod echo;
mod endless;
mod http;
mod manual;
mod sink;
mod source;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use handover_sandbox::Namespace;

pub use discard::Discard;
pub use echo::{Echo, echo};
pub use endless::Endless;
pub use http::Http;
pub use manual::Manual;
pub use sink::Sink;
pub use source::{REQUEST_LENGTH, Source};

/// Listens on a free port of `address` in `namespace` and runs `serve` for every connection. An error
/// of `serve` ends its connection: it shows at the other end, which is where a scenario looks.
fn start<F>(namespace: &Namespace, address: IpAddr, name: &str, serve: F) -> Result<SocketAddr>
where
    F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
{
    let listener = namespace
        .run(move || TcpListener::bind((address, 0)))
        .with_context(|| format!("bind the server {name}"))?;
    let bound = listener.local_addr()?;
    let (serve, thread_name) = (Arc::new(serve), name.to_owned());
    thread::Builder::new()
        .name(format!("{name} listener"))
        .spawn(move || accept_all(&listener, &thread_name, &serve))
        .with_context(|| format!("start the server {name}"))?;
    Ok(bound)
}

fn accept_all<F>(listener: &TcpListener, name: &str, serve: &Arc<F>)
where
    F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
{
    for stream in listener.incoming().flatten() {
        let serve = Arc::clone(serve);
        let serving = move || drop(serve(stream));
        let started = thread::Builder::new().name(name.to_owned()).spawn(serving);
        // Without a thread the connection is closed, which its client sees.
        drop(started);
    }
}
