//! The commands to a running daemon.
//!
//! With `--json` standard output gets exactly one document, whatever happens: the answer, or `{"error": "…"}` when
//! there is none. Standard error says in words what went wrong in either case.

use handover_control::{
    Client, ClientError, Environment, LocateError, Outcome, SwitchReply, locate,
};
use serde::Serialize;
use serde_json::json;

use crate::cli::QueryArgs;
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json, tell};
use crate::show;

/// `handover status`.
pub(crate) fn status(query: &QueryArgs) -> Result<Exit, Failure> {
    let status = ask(query, async |client| client.status().await);
    show_one(query, status, show::status)
}

/// `handover networks`.
pub(crate) fn networks(query: &QueryArgs) -> Result<Exit, Failure> {
    let networks = ask(query, async |client| client.networks().await);
    show_one(query, networks, show::networks)
}

/// `handover services`.
pub(crate) fn services(query: &QueryArgs) -> Result<Exit, Failure> {
    let services = ask(query, async |client| client.services().await);
    show_one(query, services, show::services)
}

/// `handover trace`.
pub(crate) fn trace(query: &QueryArgs) -> Result<Exit, Failure> {
    let trace = ask(query, async |client| client.trace().await);
    show_one(query, trace, show::trace)
}

/// `handover switch`: done only if the network carries the traffic at the end.
pub(crate) fn switch(network: &str, query: &QueryArgs) -> Result<Exit, Failure> {
    let reply = show_failure(
        query,
        ask(query, async |client| client.switch(network).await),
    )?;
    if query.json {
        print_json(&reply.entry)?;
    } else {
        print(&show::switch(&reply))?;
    }
    if has_failed(&reply) {
        let entry = reply.entry.as_ref();
        let reason = entry.and_then(|entry| entry.reason.as_deref());
        match reason {
            Some(reason) => tell(format_args!("the switch to {network} failed: {reason}")),
            None => tell(format_args!("the switch to {network} failed")),
        }
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn has_failed(reply: &SwitchReply) -> bool {
    match &reply.entry {
        Some(entry) => entry.outcome == Outcome::Failed,
        None => !reply.already_there,
    }
}

fn ask<T>(
    query: &QueryArgs,
    request: impl AsyncFnOnce(&mut Client) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    let path = locate(query.control.as_deref(), &Environment::of_process()).map_err(not_located)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    runtime.block_on(async {
        let mut client = Client::connect(&path).await.map_err(no_answer)?;
        request(&mut client).await.map_err(no_answer)
    })
}

fn not_located(error: LocateError) -> Failure {
    match error {
        LocateError::Both { .. } => Failure::misuse(error),
        LocateError::None { .. } => Failure::failed(error),
    }
}

fn no_answer(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused(refused) if refused.misuse => Failure::misuse(error),
        ClientError::Refused(_)
        | ClientError::NoDaemon { .. }
        | ClientError::NotAllowed { .. }
        | ClientError::Connect { .. }
        | ClientError::Broken { .. }
        | ClientError::Silent { .. }
        | ClientError::Strange { .. } => Failure::failed(error),
    }
}

fn show_one<T: Serialize>(
    query: &QueryArgs,
    answer: Result<T, Failure>,
    show: impl FnOnce(&T) -> String,
) -> Result<Exit, Failure> {
    let answer = show_failure(query, answer)?;
    if query.json {
        print_json(&answer)?;
    } else {
        print(&show(&answer))?;
    }
    Ok(Exit::Done)
}

fn show_failure<T>(query: &QueryArgs, answer: Result<T, Failure>) -> Result<T, Failure> {
    if let Err(failure) = &answer
        && query.json
    {
        print_json(&json!({ "error": failure.to_string() }))?;
    }
    answer
}
