//! The commands' side of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::types::{Failure, Networks, Services, Status, SwitchReply, SwitchRequest, Trace};

/// A connection to a daemon's control socket.
#[derive(Debug)]
pub struct Client {
    requests: http1::SendRequest<Full<Bytes>>,
    path: PathBuf,
}

impl Client {
    /// Connects to the daemon that listens at `path`. Needs a runtime.
    ///
    /// # Errors
    ///
    /// If no daemon listens there, or if it may not be spoken to.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = timeout(ANSWER_TIMEOUT, UnixStream::connect(path))
            .await
            .map_err(|_| ClientError::Silent { path: path.into() })?
            .map_err(|error| ClientError::from_connect(path, error))?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ClientError::broken(path, &error))?;
        tokio::spawn(async move {
            // What goes wrong on the connection is the error of the request that waits on it.
            drop(connection.await);
        });
        Ok(Self {
            requests,
            path: path.into(),
        })
    }

    /// How the daemon stands.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer.
    pub async fn status(&mut self) -> Result<Status, ClientError> {
        self.get("/status").await
    }

    /// The networks of the device.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer, or has no networks because it is a server.
    pub async fn networks(&mut self) -> Result<Networks, ClientError> {
        self.get("/networks").await
    }

    /// The services of both sides.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer.
    pub async fn services(&mut self) -> Result<Services, ClientError> {
        self.get("/services").await
    }

    /// The steps of the last switch.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer, or has made no switch.
    pub async fn trace(&mut self) -> Result<Trace, ClientError> {
        self.get("/trace").await
    }

    /// Orders a switch and waits for its end, however long the daemon takes.
    ///
    /// # Errors
    ///
    /// If the daemon goes away, or cannot carry out the order. A switch that was begun and has failed is no error
    /// here: its entry says so.
    pub async fn switch(&mut self, network: &str) -> Result<SwitchReply, ClientError> {
        let order = SwitchRequest {
            network: network.into(),
        };
        let body = serde_json::to_vec(&order).expect("a string can be written as JSON");
        let request = request(Method::POST, "/switch", body.into());
        self.send(request).await
    }

    async fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T, ClientError> {
        let path = self.path.clone();
        let request = request(Method::GET, target, Bytes::new());
        timeout(ANSWER_TIMEOUT, self.send(request))
            .await
            .map_err(|_| ClientError::Silent { path })?
    }

    async fn send<T: DeserializeOwned>(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<T, ClientError> {
        let response = self
            .requests
            .send_request(request)
            .await
            .map_err(|error| ClientError::broken(&self.path, &error))?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
    ) -> Result<T, ClientError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| ClientError::broken(&self.path, &error))?
            .to_bytes();
        let strange = |reason: String| ClientError::Strange {
            path: self.path.clone(),
            reason,
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| strange(error.to_string()));
        }
        match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => Err(failure.into()),
            Err(_) => Err(strange(format!("HTTP status {status}"))),
        }
    }
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error(
        "no handover daemon listens at {}: start `handover client --config FILE` \
         (or `handover server --config FILE`)",
        path.display()
    )]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// The socket belongs to another user.
    #[error("{} belongs to another user: run this as the daemon's own user, or as root", path.display())]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be connected to.
    #[error("cannot connect to {}: {error}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The connection ended before the answer came.
    #[error("the daemon at {} went away before it answered ({reason}): see its log", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How it ended.
        reason: String,
    },
    /// No answer came in time.
    #[error(
        "the daemon at {} gave no answer for {} s: see its log, restart it if it hangs",
        path.display(),
        ANSWER_TIMEOUT.as_secs()
    )]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// The answer makes no sense.
    #[error(
        "the answer from {} is not understood ({reason}): \
         are the daemon and this command of the same version?",
        path.display()
    )]
    Strange {
        /// The socket.
        path: PathBuf,
        /// What is odd.
        reason: String,
    },
    /// The daemon says no.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl ClientError {
    fn from_connect(path: &Path, error: io::Error) -> Self {
        let path = path.into();
        if matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        ) {
            Self::NoDaemon { path }
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            Self::NotAllowed { path }
        } else {
            Self::Connect { path, error }
        }
    }

    fn broken(path: &Path, error: &dyn ToString) -> Self {
        Self::Broken {
            path: path.into(),
            reason: error.to_string(),
        }
    }
}

fn request(method: Method, target: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(target)
        // HTTP/1.1 wants a host; on a Unix socket any will do.
        .header(HOST, "handover")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("the parts of the request are constants")
}

/// A daemon answers at its loop's next turn, in milliseconds; one that takes this long hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A status with 1,000 switches and 10,000 clients takes about 3 MB.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
