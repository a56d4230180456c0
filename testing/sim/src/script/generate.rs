//! Writing the script of a seed.
//!
//! Some things happen at any time; others are an ambush: something brings a machine to a step where it
//! waits, and a fault strikes it there. So every fault meets every wait after some ten thousand seeds.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::step::{Sequence, Step};

use super::{Action, Conduit, Entry, Script, When, Which};
use crate::application::{Closing, Plan, Reading};
use crate::fault::Fault;
use crate::network::Network;
use crate::random::Random;
use crate::wait::Wait;

/// A trial lasts at least so long before it is calmed down.
const SHORTEST: Duration = Duration::from_secs(60);

/// Streams of one trial, at least.
const STREAMS: u64 = 3;

/// How often what is written at once travels in two pieces, in percent: it costs time.
const SPLIT_PERCENT: u64 = 10;

/// The first faults of a trial are one of each of these: in a world that is whole they always strike.
const SURE: [&[Fault]; 2] = [
    &[
        Fault::Cut,
        Fault::CutThere,
        Fault::CutBack,
        Fault::Down,
        Fault::Readdress,
        Fault::Return,
        Fault::Weather,
    ],
    &[Fault::Silence, Fault::SleepCnapt, Fault::SleepSnapt],
];

/// Things that happen at any time in one trial, at most.
const ANY_TIME: u64 = 12;

/// Ambushes in one trial, at most.
const AMBUSHES: u64 = 6;

/// Where a machine waits only while a flight is read, or while one conduit is ahead of another: so
/// seldom that an ambush there often comes to nothing.
const BETWEEN_FRAMES: [Wait; 5] = [
    Wait::At(Step::cnapt(13)),
    Wait::At(Step::cnapt(33)),
    Wait::At(Step::cnapt_star(21)),
    Wait::At(Step::snapt(20)),
    Wait::At(Step::snapt_star(12)),
];

/// Where the CNAPT waits for hooks, if its networks have any.
const AT_NETWORKS: [Wait; 4] = [
    Wait::At(Step::cnapt(22)),
    Wait::At(Step::cnapt(23)),
    Wait::At(Step::cnapt(24)),
    Wait::At(Step::cnapt_star(12)),
];

/// Long enough that something can strike meanwhile.
const QUICK_HOOK: Duration = Duration::from_millis(10);

/// Where the planned switch has no link: there is little that a fault could strike, so most ambushes there come
/// to nothing.
const WITHOUT_LINK: [Wait; 3] = [
    Wait::At(Step::cnapt(23)),
    Wait::At(Step::cnapt(24)),
    Wait::At(Step::cnapt(28)),
];

/// Where both networks of a switch are up.
const OVERLAPPED: [Wait; 3] = [
    Wait::At(Step::cnapt_overlapped(3)),
    Wait::At(Step::cnapt_overlapped(7)),
    Wait::At(Step::snapt_overlapped(4)),
];

/// How long an ambush waits for a machine to come to its step: the longest of the usual ways there.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest sleep: a night.
const NIGHT: Duration = Duration::from_secs(8 * 60 * 60);

impl Script {
    /// The script of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let networks = (0..1 + random.below(100).div_ceil(40).min(2)).map(|_| network(&mut random));
        let networks = networks.collect();
        let mut script = Self {
            seed: 0,
            networks,
            switch_timeout: switch_timeout(&mut random),
            one_adapter: random.chance(50),
            overlaps: random.chance(50),
            standbys: random.chance(50),
            rescues: random.chance(50),
            datagrams: random.chance(50),
            split_percent: SPLIT_PERCENT,
            lasts: SHORTEST + random.duration(SHORTEST),
            entries: Vec::new(),
            bug: None,
        };
        script.seed = random.next();
        script.open_some(&mut random);
        for kind in SURE {
            let fault = random.pick(kind).unwrap_or(Fault::Silence);
            script.push_any_time(fault, &mut random);
        }
        let ambushes = 1 + random.below(AMBUSHES);
        let between = random.below(ANY_TIME) / ambushes;
        for _ in 0..ambushes {
            for _ in 0..between {
                let fault = any_fault(&mut random);
                script.push_any_time(fault, &mut random);
            }
            script.push_ambush(&mut random);
        }
        script
    }

    fn push(&mut self, delay: Duration, action: Action) {
        let when = When::After(delay);
        self.entries.push(Entry { when, action });
    }

    fn open_some(&mut self, random: &mut Random) {
        let long = random.duration(Duration::from_secs(2));
        self.push(long, action(Fault::Open, random));
        for _ in 1..STREAMS {
            let delay = random.duration(Duration::from_secs(1));
            self.push(delay, action(Fault::Open, random));
        }
    }

    fn push_any_time(&mut self, fault: Fault, random: &mut Random) {
        let delay = if random.chance(30) {
            Duration::from_millis(random.below(8_000))
        } else {
            random.duration(Duration::from_secs(4))
        };
        self.push(delay, action(fault, random));
    }

    fn push_ambush(&mut self, random: &mut Random) {
        let pick = |random: &mut Random, count: usize| {
            usize::try_from(random.below(count as u64)).unwrap_or(0)
        };
        let mut wait = Wait::ALL[pick(random, Wait::ALL.len())];
        if !between_frames(wait) && random.chance(40) {
            wait = BETWEEN_FRAMES[pick(random, BETWEEN_FRAMES.len())];
        } else if random.chance(30) {
            wait = WITHOUT_LINK[pick(random, WITHOUT_LINK.len())];
        } else if random.chance(30) {
            wait = OVERLAPPED[pick(random, OVERLAPPED.len())];
        }
        let fault = Fault::ALL[pick(random, Fault::ALL.len())];
        if random.chance(70) {
            self.mend(random);
        }
        if between_frames(wait) {
            self.fall_apart(random);
        }
        if OVERLAPPED.contains(&wait) {
            self.let_overlap(wait, fault, random);
        } else if AT_NETWORKS.contains(&wait)
            || matches!(fault, Fault::HookFails | Fault::HookHangs)
        {
            self.give_hooks(fault, random);
        }
        let way = way_to(wait, random);
        self.prepare(fault, random);
        for action in &way {
            let delay = random.duration(Duration::from_millis(500));
            self.push(delay, *action);
        }
        let at_once = between_frames(wait) || OVERLAPPED.contains(&wait) || fault == Fault::Forget;
        let later = if at_once || random.chance(50) {
            Duration::ZERO
        } else {
            random.duration(Duration::from_secs(1))
        };
        let when = When::At {
            wait,
            patience: PATIENCE,
            later,
        };
        let action = action(fault, random);
        self.entries.push(Entry { when, action });
        if way.iter().any(|one| matches!(one, Action::Silence)) {
            self.push(random.duration(PATIENCE), Action::Silence);
        }
    }

    /// A world that is whole again and has something to do, so that the way to the step is open.
    fn mend(&mut self, random: &mut Random) {
        self.push(Duration::ZERO, Action::Release);
        for number in 0..self.networks.len() {
            self.push(Duration::ZERO, Action::Restore(number));
        }
        let when = When::At {
            wait: Wait::Attached(Side::Cnapt),
            patience: PATIENCE,
            later: random.duration(Duration::from_secs(1)),
        };
        let action = action(Fault::Open, random);
        self.entries.push(Entry { when, action });
    }

    /// Every flight travels in pieces, and not all of them take the same time.
    fn fall_apart(&mut self, random: &mut Random) {
        self.split_percent = 100;
        for network in &mut self.networks {
            network.jitter += random.duration(Duration::from_millis(300));
        }
    }

    /// Every network has to be opened and closed. What a NAT is to forget meanwhile is the end of the old link,
    /// which is soon over: then the hooks are quick.
    fn give_hooks(&mut self, fault: Fault, random: &mut Random) {
        for network in &mut self.networks {
            let quick = fault == Fault::Forget;
            let takes = if quick { QUICK_HOOK } else { hook_time(random) };
            *network = network.with_hooks(takes);
        }
    }

    /// Two networks that are up by themselves, and a third if there is to be one that has hooks. Where a link stands
    /// by there is none to wait for.
    fn let_overlap(&mut self, wait: Wait, fault: Fault, random: &mut Random) {
        self.overlaps = true;
        self.standbys = wait != OVERLAPPED[0];
        let hooked = usize::from(matches!(fault, Fault::HookFails | Fault::HookHangs));
        while self.networks.len() < 2 + hooked {
            self.networks.push(network(random));
        }
        for one in &mut self.networks {
            (one.hooks, one.open) = (None, true);
        }
        if hooked > 0 {
            self.networks[2] = self.networks[2].with_hooks(hook_time(random));
        }
        if wait != OVERLAPPED[0] {
            self.fall_apart(random);
        }
    }

    /// What has to be there before `fault` can strike anything.
    fn prepare(&mut self, fault: Fault, random: &mut Random) {
        match fault {
            Fault::Release => {
                // Not the control channel: without it there is no way to any step.
                let side = side(random);
                let late = Action::Hold(Conduit::Nth(side, small(random)), side);
                self.push(Duration::ZERO, late);
            }
            Fault::Restore => {
                let away = [Action::Cut, Action::Down][usize::from(random.chance(50))];
                self.push(Duration::ZERO, away(which(random)));
            }
            Fault::Open
            | Fault::Order
            | Fault::Cut
            | Fault::CutThere
            | Fault::CutBack
            | Fault::Down
            | Fault::Readdress
            | Fault::Return
            | Fault::Forget
            | Fault::Weather
            | Fault::LateBack
            | Fault::LateThere
            | Fault::Kill
            | Fault::KillCnapt
            | Fault::KillSnapt
            | Fault::OneByOne
            | Fault::RestartCnapt
            | Fault::RestartSnapt
            | Fault::CrashCnapt
            | Fault::CrashSnapt
            | Fault::SleepCnapt
            | Fault::SleepSnapt
            | Fault::Reset
            | Fault::Leave
            | Fault::Change
            | Fault::Silence
            | Fault::HookFails
            | Fault::HookHangs => {}
        }
    }
}

fn network(random: &mut Random) -> Network {
    let mut network = Network::new(random.duration(Duration::from_millis(300)));
    network.back = random.duration(Duration::from_millis(300));
    if random.chance(40) {
        network.jitter = random.duration(Duration::from_millis(300));
    }
    if random.chance(20) {
        network.forgets = Some(Duration::from_millis(2_000 + random.below(60_000)));
    }
    network.late_resets = random.chance(50);
    if random.chance(20) {
        network = network.with_hooks(hook_time(random));
    }
    network
}

fn hook_time(random: &mut Random) -> Duration {
    QUICK_HOOK + random.duration(Duration::from_secs(3))
}

fn switch_timeout(random: &mut Random) -> Duration {
    if random.chance(15) {
        Duration::from_millis(1_000 + random.below(60_000))
    } else {
        Duration::from_secs(24 * 60 * 60)
    }
}

fn between_frames(wait: Wait) -> bool {
    BETWEEN_FRAMES.contains(&wait)
}

/// What brings a machine to where it is to wait.
fn way_to(wait: Wait, random: &mut Random) -> Vec<Action> {
    let number = small(random);
    let lost = if random.chance(50) {
        Action::Kill(Conduit::Control, Some(Side::Cnapt))
    } else {
        Action::Down(Which::Current)
    };
    match wait {
        Wait::At(step) => match step.sequence() {
            Sequence::Cnapt if step == Step::cnapt(7) => {
                vec![Action::Silence, Action::Order(number)]
            }
            Sequence::Cnapt
            | Sequence::Snapt
            | Sequence::CnaptOverlapped
            | Sequence::SnaptOverlapped => vec![Action::Order(number)],
            // With conduits that still stand: a planned switch that the SNAPT does not answer.
            Sequence::CnaptStar if step == Step::cnapt_star(7) && random.chance(50) => vec![
                Action::Silence,
                Action::Order(number),
                Action::Cut(Which::Current),
            ],
            Sequence::CnaptStar if step == Step::cnapt_star(7) => vec![Action::Silence, lost],
            Sequence::CnaptStar => vec![lost],
            Sequence::SnaptStar if step == Step::snapt_star(0) => {
                vec![Action::Kill(Conduit::Control, Some(Side::Snapt))]
            }
            Sequence::SnaptStar => vec![lost],
        },
        Wait::Attached(_) => Vec::new(),
        Wait::Detached => (0..3)
            .map(|number| Action::Down(Which::Nth(number)))
            .collect(),
        Wait::New => vec![if random.chance(50) {
            Action::Restart(Side::Snapt)
        } else {
            Action::Crash(Side::Snapt)
        }],
    }
}

/// Something that makes the world worse.
fn disturbing(random: &mut Random) -> Fault {
    let all: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| fault.disturbs())
        .collect();
    let one = random.pick(&all).unwrap_or(Fault::Cut);
    // A restart ends all streams, and nothing is learnt from them any more.
    let costly = matches!(
        one,
        Fault::RestartCnapt | Fault::RestartSnapt | Fault::CrashCnapt | Fault::CrashSnapt
    );
    if costly && random.chance(70) {
        return Fault::Cut;
    }
    one
}

/// Connections and orders often, networks that are back as often as others that go.
fn any_fault(random: &mut Random) -> Fault {
    match random.below(10) {
        0 | 1 => Fault::Open,
        2 | 3 => Fault::Order,
        4 | 5 => Fault::Restore,
        6 => Fault::Release,
        _ => disturbing(random),
    }
}

fn action(fault: Fault, random: &mut Random) -> Action {
    match fault {
        Fault::Open => Action::Open {
            at: side(random),
            opener: plan(random, false),
            acceptor: plan(random, true),
        },
        Fault::Order => Action::Order(small(random)),
        Fault::Cut => Action::Cut(which(random)),
        Fault::CutThere => Action::HalfCut(which(random), Side::Snapt),
        Fault::CutBack => Action::HalfCut(which(random), Side::Cnapt),
        Fault::Down => Action::Down(which(random)),
        Fault::Restore => Action::Restore(small(random)),
        Fault::Readdress => Action::Readdress(which(random)),
        Fault::Return => Action::Return {
            network: which(random),
            away: random.duration(Duration::from_secs(40)),
            told: random.chance(50),
        },
        // The others seldom have a connection.
        Fault::Forget if random.chance(70) => Action::Forget(Which::Current),
        Fault::Forget => Action::Forget(which(random)),
        Fault::Weather => Action::Weather {
            network: which(random),
            there: random.duration(Duration::from_secs(1)),
            back: random.duration(Duration::from_secs(1)),
            jitter: random.duration(Duration::from_secs(1)),
        },
        Fault::LateBack => Action::Hold(conduit(Side::Cnapt, random), Side::Cnapt),
        Fault::LateThere => Action::Hold(conduit(Side::Snapt, random), Side::Snapt),
        Fault::Release => Action::Release,
        Fault::Kill => Action::Kill(conduit(side(random), random), None),
        Fault::KillCnapt => Action::Kill(conduit(Side::Cnapt, random), Some(Side::Cnapt)),
        Fault::KillSnapt => Action::Kill(conduit(Side::Snapt, random), Some(Side::Snapt)),
        Fault::OneByOne => {
            let told = [None, Some(Side::Cnapt), Some(Side::Snapt)];
            let told = random.pick(&told).unwrap_or_default();
            Action::KillOneByOne(random.duration(Duration::from_secs(1)), told)
        }
        Fault::RestartCnapt => Action::Restart(Side::Cnapt),
        Fault::RestartSnapt => Action::Restart(Side::Snapt),
        Fault::CrashCnapt => Action::Crash(Side::Cnapt),
        Fault::CrashSnapt => Action::Crash(Side::Snapt),
        Fault::SleepCnapt => sleep(Side::Cnapt, random),
        Fault::SleepSnapt => sleep(Side::Snapt, random),
        Fault::Reset => Action::Reset(small(random), side(random)),
        Fault::Leave => Action::Leave(small(random), side(random)),
        Fault::Change => {
            let (reading, closing) = (reading(random), closing(random));
            Action::Change(small(random), side(random), reading, closing)
        }
        Fault::Silence => Action::Silence,
        Fault::HookFails => Action::FailHooks,
        Fault::HookHangs => Action::HangHooks,
    }
}

/// A number to choose by: there are few of anything.
fn small(random: &mut Random) -> usize {
    usize::try_from(random.below(16)).unwrap_or(0)
}

fn side(random: &mut Random) -> Side {
    if random.chance(50) {
        Side::Cnapt
    } else {
        Side::Snapt
    }
}

fn which(random: &mut Random) -> Which {
    match random.below(3) {
        0 => Which::Current,
        1 => Which::Target,
        _ => Which::Nth(small(random)),
    }
}

/// The control channel as often as all others together: more depends on it.
fn conduit(side: Side, random: &mut Random) -> Conduit {
    if random.chance(50) {
        Conduit::Control
    } else {
        Conduit::Nth(side, small(random))
    }
}

fn sleep(side: Side, random: &mut Random) -> Action {
    let most = match random.below(10) {
        0..6 => Duration::from_secs(30),
        6..9 => Duration::from_secs(600),
        _ => NIGHT,
    };
    let length =
        Duration::from_millis(1) + most * u32::try_from(random.below(100)).unwrap_or(0) / 99;
    let timers_first = random.chance(50);
    Action::Sleep {
        side,
        length,
        timers_first,
    }
}

fn size(random: &mut Random) -> u64 {
    let magnitude = random.below(20);
    random.below(1 << magnitude)
}

/// Not shorter: a reader or writer that wakes more often only costs time.
fn interval(random: &mut Random) -> Duration {
    Duration::from_millis(20) + random.duration(Duration::from_millis(500))
}

fn closing(random: &mut Random) -> Closing {
    match random.below(20) {
        0 => Closing::Reset,
        1..5 => Closing::Never,
        _ => Closing::Fin,
    }
}

fn reading(random: &mut Random) -> Reading {
    match random.below(6) {
        0 => Reading::Still,
        1 => Reading::Slow(1 + size(random), interval(random)),
        _ => Reading::All,
    }
}

fn plan(random: &mut Random, acceptor: bool) -> Plan {
    let plan = match random.below(3) {
        0 if acceptor => Plan::echo(),
        _ => Plan::send(size(random)),
    };
    let plan = plan.closing(closing(random)).reading(reading(random));
    if random.chance(40) {
        // So that it is over before the trial is.
        let least = plan.write / 300;
        plan.paced(1 + least.max(size(random) / 8), interval(random))
    } else {
        plan
    }
}
