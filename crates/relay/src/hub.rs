//! One session, shared by its tasks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use handover_proto::flow::FLOWS;
use handover_proto::session::{Close, Cnapt, Output, Snapt};
use handover_proto::stream::{PeerMisbehaved, STREAMS, Streams, code};
use handover_proto::wire::Frame;
use handover_proto::{ConduitId, FlowId, Instant, StreamId};
use tokio::sync::{Notify, mpsc};

use crate::flow::{Errand, Exit};
use crate::writer::Writer;

/// What the data path needs of a session machine; both have it.
pub trait Session: Send + 'static {
    /// The streams.
    fn streams_mut(&mut self) -> &mut Streams;
    /// Something came by this conduit.
    fn heard(&mut self, conduit: ConduitId, now: Instant);
    /// A frame came by this conduit.
    ///
    /// # Errors
    ///
    /// If the other module broke a rule.
    fn handle_frame(
        &mut self,
        conduit: ConduitId,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), PeerMisbehaved>;
    /// A conduit ended.
    fn conduit_ended(&mut self, conduit: ConduitId, now: Instant);
    /// Whether nothing may be read from this conduit yet.
    fn is_held(&self, conduit: ConduitId) -> bool;
    /// The next thing to do.
    fn poll_output(&mut self) -> Option<Output>;
    /// When to call [`Self::handle_timeout`].
    fn next_timeout(&self) -> Option<Instant>;
    /// Fires what is due.
    fn handle_timeout(&mut self, now: Instant);
}

macro_rules! session {
    ($machine:ty, $held:expr) => {
        impl Session for $machine {
            fn streams_mut(&mut self) -> &mut Streams {
                self.streams_mut()
            }
            fn heard(&mut self, conduit: ConduitId, now: Instant) {
                self.heard(conduit, now);
            }
            fn handle_frame(
                &mut self,
                conduit: ConduitId,
                frame: &Frame,
                now: Instant,
            ) -> Result<(), PeerMisbehaved> {
                self.handle_frame(conduit, frame, now)
            }
            fn conduit_ended(&mut self, conduit: ConduitId, now: Instant) {
                self.conduit_ended(conduit, now);
            }
            fn is_held(&self, conduit: ConduitId) -> bool {
                let held: fn(&$machine, ConduitId) -> bool = $held;
                held(self, conduit)
            }
            fn poll_output(&mut self) -> Option<Output> {
                self.poll_output()
            }
            fn next_timeout(&self) -> Option<Instant> {
                self.next_timeout()
            }
            fn handle_timeout(&mut self, now: Instant) {
                self.handle_timeout(now);
            }
        }
    };
}

session!(Cnapt, |_, _| false);
session!(Snapt, |machine, conduit| machine.is_held(conduit));

/// What the machine has told a conduit's task.
#[derive(Debug, Default)]
pub(crate) struct ConduitState {
    waker: Option<Waker>,
    close: Option<(Close, Bytes)>,
}

/// What is known of an application's connection outside its own task.
#[derive(Debug)]
pub(crate) struct ApplicationState {
    waker: Option<Waker>,
    /// Where bytes that are in order go without a detour.
    pub(crate) writer: Arc<Writer>,
    /// The machine wants the connection reset.
    pub(crate) reset: Option<u16>,
    /// The first error that any writer saw. Linux reports a socket's error once, to whoever looks
    /// first, so all who look share this.
    pub(crate) error: Option<std::io::ErrorKind>,
}

/// How many applications may be connected at once: as many as there can be streams and flows. Only who gives up
/// what it has just asked for, again and again, has more under way.
pub(crate) const CONNECTS: usize = STREAMS as usize + FLOWS;

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct Core<S> {
    pub(crate) machine: S,
    pub(crate) conduits: HashMap<ConduitId, ConduitState>,
    pub(crate) applications: HashMap<StreamId, ApplicationState>,
    pub(crate) exits: HashMap<FlowId, Exit>,
    /// What waits for the lock to be released.
    errands: Vec<Errand>,
    /// The session is over: a conduit that comes now is closed at once.
    closed: bool,
    /// How many applications are being connected, or wait for it.
    connects: usize,
    armed: Option<Instant>,
}

/// One session with its conduits and applications.
#[derive(Debug)]
pub struct Hub<S> {
    core: Mutex<Core<S>>,
    timer: Notify,
    /// A task of this session has panicked.
    pub(crate) broken: Notify,
    /// What the session task has to do. Bounded by [`CONNECTS`] and by what exists: one entry a conduit to
    /// dial, a switch to report.
    outputs: mpsc::UnboundedSender<Output>,
    next_conduit: AtomicU64,
    clock: fn() -> Instant,
}

impl<S: Session> Hub<S> {
    /// Shares `machine`; what its session task has to do comes out of the receiver.
    pub fn new(machine: S, clock: fn() -> Instant) -> (Arc<Self>, mpsc::UnboundedReceiver<Output>) {
        let (outputs, receiver) = mpsc::unbounded_channel();
        let core = Core {
            machine,
            conduits: HashMap::new(),
            applications: HashMap::new(),
            exits: HashMap::new(),
            errands: Vec::new(),
            closed: false,
            connects: 0,
            armed: None,
        };
        let hub = Self {
            core: Mutex::new(core),
            timer: Notify::new(),
            broken: Notify::new(),
            outputs,
            next_conduit: AtomicU64::new(1),
            clock,
        };
        (Arc::new(hub), receiver)
    }

    /// Calls the machine and does what it says.
    pub fn with<R>(&self, act: impl FnOnce(&mut S, Instant) -> R) -> R {
        self.with_core(|core, now| act(&mut core.machine, now))
    }

    /// The session is over: every conduit and every application is let go, with a reset.
    pub fn close(&self) {
        let mut core = self.lock();
        core.closed = true;
        let conduits: Vec<ConduitId> = core.conduits.keys().copied().collect();
        for conduit in conduits {
            if let Some(state) = core.conduits.get_mut(&conduit) {
                state.close.get_or_insert((Close::Reset, Bytes::new()));
            }
            core.wake_conduit(conduit);
        }
        let applications: Vec<StreamId> = core.applications.keys().copied().collect();
        for stream in applications {
            if let Some(state) = core.applications.get_mut(&stream) {
                state.reset.get_or_insert(code::SESSION_LOST);
            }
            core.wake_application(stream);
        }
        let exits = std::mem::take(&mut core.exits);
        drop(core);
        drop(exits);
    }

    /// A name for a new conduit.
    pub fn next_conduit_id(&self) -> ConduitId {
        ConduitId(self.next_conduit.fetch_add(1, Ordering::Relaxed))
    }

    /// How many connections of applications are open here.
    pub fn applications(&self) -> usize {
        self.lock().applications.len()
    }

    /// Sleeps until the machine wants to be woken, wakes it, and so on, for ever.
    pub async fn run_timer(&self) {
        loop {
            let next = {
                let mut core = self.lock();
                core.armed = core.machine.next_timeout();
                core.armed
            };
            let now = (self.clock)();
            match next {
                Some(deadline) if deadline <= now => {
                    self.with(|machine, now| machine.handle_timeout(now));
                }
                Some(deadline) => {
                    tokio::select! {
                        () = tokio::time::sleep(deadline.since(now)) => {}
                        () = self.timer.notified() => {}
                    }
                }
                None => self.timer.notified().await,
            }
        }
    }

    pub(crate) fn with_core<R>(&self, act: impl FnOnce(&mut Core<S>, Instant) -> R) -> R {
        let now = (self.clock)();
        let mut core = self.lock();
        let result = act(&mut core, now);
        core.dispatch(&self.outputs);
        if let Some(next) = core.machine.next_timeout()
            && core.armed.is_none_or(|armed| next < armed)
        {
            core.armed = Some(next);
            self.timer.notify_one();
        }
        let errands = std::mem::take(&mut core.errands);
        drop(core);
        self.run(errands);
        result
    }

    /// Does for the flows what must not be done under the lock.
    fn run(&self, errands: Vec<Errand>) {
        let mut undelivered = 0;
        for errand in errands {
            match errand {
                Errand::Deliver(delivery) => undelivered += u64::from(!delivery.send()),
                Errand::LetGo(exit) => drop(exit),
            }
        }
        if undelivered > 0 {
            let mut core = self.lock();
            let flows = core.machine.streams_mut().flows_mut();
            flows.undelivered(undelivered);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core<S>> {
        // A panic under the lock breaks the session (see `contained`): all that is left to do with it is to
        // let its conduits and applications go.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a conduit before the machine hears of it, so that no wake-up is lost.
    pub(crate) fn register_conduit(&self, conduit: ConduitId) {
        let mut core = self.lock();
        let state = ConduitState {
            waker: None,
            close: core.closed.then(|| (Close::Reset, Bytes::new())),
        };
        core.conduits.insert(conduit, state);
    }
}

impl<S: Session> Core<S> {
    fn dispatch(&mut self, outputs: &mpsc::UnboundedSender<Output>) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Wake(conduit) => self.wake_conduit(conduit),
                Output::Look(stream) => self.wake_application(stream),
                Output::Reset { stream, code } => {
                    if let Some(application) = self.applications.get_mut(&stream) {
                        application.reset = Some(code);
                    }
                    self.wake_application(stream);
                }
                Output::Close { conduit, how, rest } => {
                    if let Some(state) = self.conduits.get_mut(&conduit) {
                        state.close = Some((how, rest));
                    }
                    self.wake_conduit(conduit);
                }
                Output::Deliver { flow, payload } => match self.exits.get(&flow) {
                    Some(exit) => self.errands.push(Errand::Deliver(exit.delivery(payload))),
                    None => self.machine.streams_mut().flows_mut().undelivered(1),
                },
                Output::EndFlow(flow) => self.let_go(flow),
                Output::Connect { stream, .. } if self.connects >= CONNECTS => {
                    self.machine.streams_mut().abort(stream, code::TOO_MANY);
                }
                Output::ConnectFlow { flow, .. } if self.connects >= CONNECTS => {
                    self.machine.streams_mut().flows_mut().unreachable(flow);
                }
                Output::Connect { .. } | Output::ConnectFlow { .. } => {
                    self.connects += 1;
                    drop(outputs.send(output));
                }
                Output::Offer { .. }
                | Output::DialLink { .. }
                | Output::DialConduit { .. }
                | Output::SuspendDecision
                | Output::WakeDecision
                | Output::CloseNetworks { .. }
                | Output::OpenNetwork { .. }
                | Output::OpenVpn { .. }
                | Output::Event(_) => {
                    // The session task has ended: so has the session.
                    drop(outputs.send(output));
                }
            }
        }
    }

    /// One that was asked for by [`Output::Connect`] or [`Output::ConnectFlow`] is there, or will never be.
    pub(crate) const fn connect_over(&mut self) {
        self.connects -= 1;
    }

    fn let_go(&mut self, flow: FlowId) {
        if let Some(exit) = self.exits.remove(&flow) {
            self.errands.push(Errand::LetGo(exit));
        }
    }

    fn wake_conduit(&mut self, conduit: ConduitId) {
        if let Some(waker) = self
            .conduits
            .get_mut(&conduit)
            .and_then(|one| one.waker.take())
        {
            waker.wake();
        }
    }

    pub(crate) fn wake_application(&mut self, stream: StreamId) {
        if let Some(waker) = self
            .applications
            .get_mut(&stream)
            .and_then(|one| one.waker.take())
        {
            waker.wake();
        }
    }

    /// The conduit's task goes to sleep with `waker`, unless it is to close.
    pub(crate) fn attend_conduit(
        &mut self,
        conduit: ConduitId,
        waker: &Waker,
    ) -> Option<(Close, Bytes)> {
        let state = self.conduits.get_mut(&conduit)?;
        keep(&mut state.waker, waker);
        state.close.take()
    }

    pub(crate) fn attend_application(&mut self, stream: StreamId, waker: &Waker) {
        if let Some(state) = self.applications.get_mut(&stream) {
            keep(&mut state.waker, waker);
        }
    }

    pub(crate) fn add_application(&mut self, stream: StreamId, writer: Arc<Writer>) {
        let state = ApplicationState {
            waker: None,
            writer,
            reset: None,
            error: None,
        };
        self.applications.insert(stream, state);
    }
}

fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use handover_proto::session::SnaptOptions;
    use handover_proto::stream::CreditPool;
    use handover_proto::{CnaptId, Instance};

    use super::*;

    #[test]
    fn a_conduit_that_comes_after_the_session_is_closed_at_once() {
        let options = SnaptOptions {
            cnapt: CnaptId([1; 32]),
            instance: Instance(1),
            session: 1,
            virtual_ip: [127, 77, 0, 1].into(),
            services: Vec::new(),
            switch_timeout: Duration::from_secs(1),
            flow_idle: Duration::from_secs(1),
        };
        let snapt = Snapt::new(options, CreditPool::default());
        let (hub, _outputs) = Hub::new(snapt, || Instant::from_micros(0));
        let (early, late) = (hub.next_conduit_id(), hub.next_conduit_id());
        hub.register_conduit(early);
        hub.close();
        hub.register_conduit(late);
        for conduit in [early, late] {
            let close = hub.with_core(|core, _| core.attend_conduit(conduit, Waker::noop()));
            assert_eq!(close, Some((Close::Reset, Bytes::new())));
        }
    }
}
