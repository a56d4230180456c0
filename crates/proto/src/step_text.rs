//! What each step does, in a few words, for `handover trace`. docs/spec tells it in full.

use crate::step::{Sequence, Step};

const CNAPT: [&str; 34] = [
    "suspend the decision task",
    "stop forwarding server-service requests",
    "stop forwarding client-service replies",
    "stop forwarding connectionless server-service packets",
    "buffer what the applications send",
    "flush: finish the frames begun",
    "wait until the decision task is suspended",
    "from now on the inputs wait for their last message",
    "compose SWITCH_STEP1",
    "send SWITCH_STEP1",
    "wait for ACK",
    "send LAST_MESSAGE_BEFORE_REDIRECTION on every conduit",
    "wait for LAST_MESSAGE_BEFORE_REDIRECTION on every conduit",
    "wait for OK_TO_REDIRECTION",
    "destroy connectionless client-service sockets",
    "take client-service streams off the old link",
    "close the spare conduits of the old link",
    "send CLIENT_SERVICES_READY_FOR_REDIRECTION",
    "wait for SERVER_SERVICES_READY_FOR_REDIRECTION",
    "take server-service streams off and close the old conduits",
    "close the old control channel",
    "close the old network, if needed",
    "open the new network, if needed",
    "change the current address",
    "rebind connectionless server-service sockets",
    "recreate connectionless client-service sockets",
    "prepare spare conduits on the new address",
    "create the new control channel",
    "send SWITCH_STEP2",
    "wait until the client-service streams are renewed",
    "redirect the client-service streams",
    "give server-service streams their places on the new link",
    "wait for ALL_REDIRECTED",
    "wake everything and send what was buffered",
];

const SNAPT: [&str; 23] = [
    "take the CNAPT ID from SWITCH_STEP1",
    "stop forwarding server-service replies",
    "stop forwarding client-service requests",
    "stop forwarding connectionless client-service packets",
    "buffer what the applications send",
    "flush: finish the frames begun",
    "from now on the inputs wait for their last message",
    "send LAST_MESSAGE_BEFORE_REDIRECTION on every conduit",
    "send ACK",
    "wait for LAST_MESSAGE_BEFORE_REDIRECTION on every conduit",
    "send OK_TO_REDIRECTION",
    "wait for CLIENT_SERVICES_READY_FOR_REDIRECTION",
    "take client-service streams off the old link",
    "take server-service streams off and close the old conduits",
    "send SERVER_SERVICES_READY_FOR_REDIRECTION",
    "wait for SWITCH_STEP2 from the new address",
    "take the new address from SWITCH_STEP2",
    "redirect connectionless client-service sockets",
    "give client-service streams their places on the new link",
    "wait until the server-service streams are renewed",
    "redirect the server-service streams",
    "send ALL_REDIRECTED",
    "wake everything and send what was buffered",
];

const CNAPT_STAR: [&str; 23] = [
    "suspend the decision task",
    "stop forwarding server-service requests",
    "stop forwarding client-service replies",
    "stop forwarding connectionless server-service packets",
    "buffer what the applications send",
    "store what was being sent",
    "wait until the decision task is suspended",
    "destroy connectionless client-service sockets",
    "take client-service streams off the old link",
    "close the spare conduits of the old link",
    "take server-service streams off and close the old conduits",
    "change the current address",
    "rebind connectionless server-service sockets",
    "recreate connectionless client-service sockets",
    "prepare spare conduits on the new address",
    "create the new control channel",
    "send SWITCH_UNEXPECTED",
    "wait until the client-service streams are renewed",
    "redirect the client-service streams",
    "give server-service streams their places on the new link",
    "wait for ALL_REDIRECTED",
    "resend what was stored",
    "wake everything and send what was buffered",
];

const SNAPT_STAR: [&str; 17] = [
    "the link is lost: wait for SWITCH_UNEXPECTED",
    "take the CNAPT ID and the address from SWITCH_UNEXPECTED",
    "stop forwarding server-service replies",
    "stop forwarding client-service requests",
    "stop forwarding connectionless client-service packets",
    "buffer what the applications send",
    "store what was being sent",
    "take client-service streams off the old link",
    "take server-service streams off and close the old conduits",
    "update the CNAPT's address",
    "redirect connectionless client-service sockets",
    "give client-service streams their places on the new link",
    "wait until the server-service streams are renewed",
    "redirect the server-service streams",
    "send ALL_REDIRECTED",
    "resend what was stored",
    "wake everything and send what was buffered",
];

const CNAPT_OVERLAPPED: [&str; 8] = [
    "suspend the decision task",
    "wait until the decision task is suspended",
    "make a link over the new network, with spare conduits, if there is none",
    "send SWITCH_STEP2",
    "let all streams and flows go on over the new link",
    "send LAST_MESSAGE_BEFORE_REDIRECTION on every conduit of the old link",
    "wait for LAST_MESSAGE_BEFORE_REDIRECTION on each, and for ALL_REDIRECTED",
    "close the old conduits and wake the decision task",
];

const SNAPT_OVERLAPPED: [&str; 5] = [
    "take the CNAPT ID and the new address from SWITCH_STEP2",
    "let all streams and flows go on over the new link",
    "send LAST_MESSAGE_BEFORE_REDIRECTION on every conduit of the old link",
    "wait for LAST_MESSAGE_BEFORE_REDIRECTION on each",
    "send ALL_REDIRECTED",
];

impl Step {
    /// What the step does, in a few words.
    pub fn text(self) -> &'static str {
        let texts: &[&str] = match self.sequence() {
            Sequence::Cnapt => &CNAPT,
            Sequence::Snapt => &SNAPT,
            Sequence::CnaptStar => &CNAPT_STAR,
            Sequence::SnaptStar => &SNAPT_STAR,
            Sequence::CnaptOverlapped => &CNAPT_OVERLAPPED,
            Sequence::SnaptOverlapped => &SNAPT_OVERLAPPED,
        };
        let (first, _) = self.sequence().bounds();
        texts[usize::from(self.number() - first)]
    }
}
