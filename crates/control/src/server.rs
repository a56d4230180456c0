//! Requests become commands, and the daemon's answers become responses.
//!
//! The daemon owns its state and is asked over a channel, so nothing here locks anything. A `switch` is answered when
//! it is over, however long that takes; the other commands at the daemon's next turn.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::types::{Failure, Networks, Services, Status, SwitchReply, SwitchRequest, Trace};

/// How many commands may wait for the daemon's loop. People and scripts send them: when this many wait, the loop
/// itself is stuck, and more in the queue would not help.
pub const COMMANDS_WAITING: usize = 16;

/// What a daemon is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Say how it stands.
    Status(Reply<Status>),
    /// List the networks.
    Networks(Reply<Result<Networks, Failure>>),
    /// List the services of both sides.
    Services(Reply<Services>),
    /// Go to another network, and answer when that is done or has failed.
    Switch {
        /// Its name, as the user wrote it.
        network: String,
        /// Takes the result of this very order.
        reply: Reply<Result<SwitchReply, Failure>>,
    },
    /// Show the steps of the last switch.
    Trace(Reply<Result<Trace, Failure>>),
}

/// Where the answer to a command goes.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// A place for an answer, and its other end.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers. If whoever asked has gone, nothing happens.
    pub fn send(self, answer: T) {
        drop(self.0.send(answer));
    }
}

pub(crate) fn router(commands: mpsc::Sender<Command>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/networks", get(networks))
        .route("/services", get(services))
        .route("/trace", get(trace))
        .route("/switch", post(switch))
        .with_state(Commands(commands))
}

async fn status(State(commands): State<Commands>) -> Response {
    answer(commands.ask(Command::Status).await)
}

async fn networks(State(commands): State<Commands>) -> Response {
    answer(commands.ask(Command::Networks).await.flatten())
}

async fn services(State(commands): State<Commands>) -> Response {
    answer(commands.ask(Command::Services).await)
}

async fn trace(State(commands): State<Commands>) -> Response {
    answer(commands.ask(Command::Trace).await.flatten())
}

async fn switch(
    State(commands): State<Commands>,
    Json(SwitchRequest { network }): Json<SwitchRequest>,
) -> Response {
    let order = |reply| Command::Switch { network, reply };
    answer(commands.ask(order).await.flatten())
}

#[derive(Clone)]
struct Commands(mpsc::Sender<Command>);

impl Commands {
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Failure> {
        let (reply, answer) = Reply::new();
        let stopping = || Failure::failed("the daemon is stopping");
        self.0.send(command(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

fn answer<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(failure) => {
            let status = if failure.misuse {
                StatusCode::BAD_REQUEST
            } else {
                StatusCode::CONFLICT
            };
            (status, Json(failure)).into_response()
        }
    }
}
