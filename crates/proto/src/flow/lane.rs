//! What the flows of one kind of service may do.
//!
//! As for streams the spec stops, unbinds and rebinds them kind by kind, in steps of their own. The CNAPT binds
//! them to the next link before there is one: so it is named by its number, and becomes the place when it carries.

use crate::stream::ServiceKind;
use crate::{ConduitId, LinkNumber};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FlowLane {
    /// They may send, and expire.
    pub(crate) forwarding: bool,
    bound_to: Option<LinkNumber>,
    /// The control conduit of the link by which they are sent.
    pub(crate) link: Option<ConduitId>,
}

/// Both lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FlowLanes([FlowLane; 2]);

impl FlowLanes {
    pub(crate) const fn of(&self, kind: ServiceKind) -> FlowLane {
        self.0[kind as usize]
    }

    /// Nothing of either kind is sent from now on: they share a conduit, which its marker ends.
    pub(crate) fn stop(&mut self) {
        self.0.iter_mut().for_each(|lane| lane.forwarding = false);
    }

    pub(crate) fn go_on(&mut self) {
        self.0.iter_mut().for_each(|lane| lane.forwarding = true);
    }

    /// The place of this kind is on no link.
    pub(crate) const fn unbind(&mut self, kind: ServiceKind) {
        let lane = &mut self.0[kind as usize];
        lane.bound_to = None;
        lane.link = None;
    }

    /// The place of this kind is on `link`, as soon as it carries.
    pub(crate) const fn bind(&mut self, kind: ServiceKind, link: LinkNumber) {
        self.0[kind as usize].bound_to = Some(link);
    }

    /// `link` came first of the two.
    pub(crate) fn bind_instead(&mut self, dialled: LinkNumber, link: LinkNumber) {
        for lane in &mut self.0 {
            if lane.bound_to == Some(dialled) {
                lane.bound_to = Some(link);
            }
        }
    }

    /// `link` carries, with this control conduit.
    pub(crate) fn carry_on(&mut self, link: LinkNumber, control: ConduitId) {
        for lane in &mut self.0 {
            if lane.bound_to == Some(link) {
                lane.link = Some(control);
            }
        }
    }

    /// The place of this kind is on the link with this control conduit.
    pub(crate) const fn redirect(&mut self, kind: ServiceKind, control: ConduitId) {
        self.0[kind as usize].link = Some(control);
    }
}
