//! Through all states, on two threads, and back along the edges.
//!
//! The youngest state is looked at first: the oldest first would find shorter ways, but would have to keep
//! millions of whole states at a time. What stays of a state that was looked at is its name, where it was come
//! to from, and its edges: about 65 bytes.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handover_proto::step::Step;

use super::Configuration;
use super::fold::Fold;
use super::state::{Action, State};

/// As many as the machines of CI have cores.
const THREADS: usize = 2;

/// Parts of the set of known states, so that two threads seldom want the same.
const SHARDS: usize = 256;

/// States that a thread takes at once.
const PORTION: usize = 64;

/// How far a path is followed from where nothing leads to a good end, to show what it leads to.
const LINES_BEYOND: usize = 100;

/// What was found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Ways from one to another.
    pub edges: usize,
    /// The most things that happened before a new state was come to.
    pub depth: u32,
    /// States in which everything has arrived and nothing is left over.
    pub calm: usize,
    /// Steps that no path takes.
    pub missing: Vec<Step>,
    /// How long it took.
    pub took: Duration,
    /// There are more: the bound was reached first.
    pub incomplete: bool,
}

/// A way to something that must not be.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What must not be.
    pub what: String,
    /// What happened, from the beginning.
    pub path: Vec<String>,
    /// States that were known by then.
    pub states: usize,
}

impl fmt::Display for Explored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            edges,
            depth,
            calm,
            ..
        } = self;
        let seconds = self.took.as_secs_f64();
        writeln!(
            formatter,
            "{states} states, {edges} edges, depth {depth}, {calm} calm, {seconds:.0} s"
        )?;
        if self.incomplete {
            writeln!(formatter, "there are more: --most was reached first")?;
        }
        if self.missing.is_empty() {
            write!(
                formatter,
                "every step of the spec is in the trail of some path"
            )
        } else {
            let missing: Vec<String> = self.missing.iter().map(Step::to_string).collect();
            write!(formatter, "steps that no path takes: {}", missing.join(" "))
        }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.path {
            writeln!(formatter, "{line}")?;
        }
        write!(
            formatter,
            "counterexample after {} states: {}",
            self.states, self.what
        )
    }
}

/// Follows every choice from every state, until all are known or there are more than `most`.
///
/// # Errors
///
/// A state that must not be, or one from which there is no way to where everything has arrived.
pub fn explore(world: &Configuration, most: usize) -> Result<Explored, Counterexample> {
    let began = Instant::now();
    let first = State::new(world).map_err(|what| Counterexample {
        what,
        path: Vec::new(),
        states: 0,
    })?;
    let (graph, work) = Search::new(world, most).run(first);
    if let Some((from, action, what)) = work.broken {
        return Err(graph.counterexample(world, from, Some(action), what));
    }
    let incomplete = !work.open.is_empty();
    if !incomplete && let Some(stuck) = graph.stuck() {
        let what = "from here nothing leads to where everything has arrived".to_owned();
        return Err(graph.counterexample(world, stuck, None, what));
    }
    let steps = Step::all().enumerate();
    Ok(Explored {
        states: graph.parents.len(),
        edges: graph.edges.len(),
        depth: graph.depth,
        calm: graph.calm.len(),
        missing: steps
            .filter(|(index, _)| graph.steps & 1 << index == 0)
            .map(|(_, step)| step)
            .collect(),
        took: began.elapsed(),
        incomplete,
    })
}

/// The known states have random names already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Known = HashMap<u64, u32, BuildHasherDefault<AsItIs>>;

/// A state that is yet to be looked at.
struct Open {
    number: u32,
    depth: u32,
    state: State,
}

#[derive(Default)]
struct Work {
    open: Vec<Open>,
    /// Threads that may yet find more.
    busy: usize,
    broken: Option<(u32, Action, String)>,
}

struct Search<'a> {
    world: &'a Configuration,
    most: usize,
    known: Vec<Mutex<Known>>,
    count: AtomicU32,
    work: Mutex<Work>,
    changed: Condvar,
}

/// What one thread has found.
#[derive(Default)]
struct Found {
    /// Each state with where it was come to from, and by what.
    parents: Vec<(u32, u32, Action)>,
    edges: Vec<(u32, u32)>,
    calm: Vec<u32>,
    steps: u128,
    depth: u32,
}

impl<'a> Search<'a> {
    fn new(world: &'a Configuration, most: usize) -> Self {
        Self {
            world,
            most,
            known: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicU32::new(0),
            work: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn run(self, first: State) -> (Graph, Work) {
        let (number, _) = self.learn(&first);
        lock(&self.work).open.push(Open {
            number,
            depth: 0,
            state: first,
        });
        let found: Vec<Found> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| self.look())).collect();
            let found = threads.into_iter().map(|thread| match thread.join() {
                Ok(found) => found,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            found.collect()
        });
        let work = self.work.into_inner();
        let work = work.unwrap_or_else(PoisonError::into_inner);
        (Graph::of(found), work)
    }

    /// The number of a state, and whether it is new.
    fn learn(&self, state: &State) -> (u32, bool) {
        let name = Fold::of(state);
        let shard = (name >> 32) as usize % SHARDS;
        let mut fresh = false;
        let number = *lock(&self.known[shard]).entry(name).or_insert_with(|| {
            fresh = true;
            self.count.fetch_add(1, Ordering::Relaxed)
        });
        (number, fresh)
    }

    /// One thread's work, until there is none.
    fn look(&self) -> Found {
        let mut found = Found::default();
        while let Some(portion) = self.take() {
            let mut fresh = Vec::new();
            let mut broken = None;
            for open in &portion {
                self.expand(open, &mut found, &mut fresh, &mut broken);
            }
            let mut work = lock(&self.work);
            work.busy -= 1;
            work.open.append(&mut fresh);
            work.broken = work.broken.take().or(broken);
            self.changed.notify_all();
        }
        found
    }

    /// Some states to look at; none when there are no more, or enough was seen.
    fn take(&self) -> Option<Vec<Open>> {
        let mut work = lock(&self.work);
        loop {
            let enough = self.count.load(Ordering::Relaxed) as usize > self.most;
            if enough || work.broken.is_some() || (work.open.is_empty() && work.busy == 0) {
                return None;
            }
            if !work.open.is_empty() {
                break;
            }
            work = self
                .changed
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
        }
        work.busy += 1;
        let left = work.open.len().saturating_sub(PORTION);
        Some(work.open.split_off(left))
    }

    fn expand(
        &self,
        open: &Open,
        found: &mut Found,
        fresh: &mut Vec<Open>,
        broken: &mut Option<(u32, Action, String)>,
    ) {
        let Open {
            number,
            depth,
            ref state,
        } = *open;
        let mut actions = Vec::new();
        state.actions(self.world, &mut actions);
        if state.is_calm() {
            found.calm.push(number);
        }
        found.depth = found.depth.max(depth);
        found.steps |= state.steps();
        for action in actions {
            match state.after(action, self.world) {
                Ok(state) => {
                    let (to, is_new) = self.learn(&state);
                    found.edges.push((number, to));
                    if is_new {
                        found.parents.push((to, number, action));
                        fresh.push(Open {
                            number: to,
                            depth: depth + 1,
                            state,
                        });
                    }
                }
                Err(what) => {
                    broken.get_or_insert((number, action, what));
                }
            }
        }
    }
}

/// A thread that panicked ends the program anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is kept of the states that were looked at.
#[derive(Default)]
struct Graph {
    /// Where each was come to from, and by what; the first from itself.
    parents: Vec<(u32, Option<Action>)>,
    edges: Vec<(u32, u32)>,
    calm: Vec<u32>,
    steps: u128,
    depth: u32,
}

impl Graph {
    fn of(found: Vec<Found>) -> Self {
        let mut graph = Self::default();
        let states = 1 + found.iter().map(|one| one.parents.len()).sum::<usize>();
        graph.parents = vec![(0, None); states];
        for one in found {
            for (state, parent, action) in one.parents {
                graph.parents[state as usize] = (parent, Some(action));
            }
            graph.edges.extend(one.edges);
            graph.calm.extend(one.calm);
            graph.steps |= one.steps;
            graph.depth = graph.depth.max(one.depth);
        }
        graph
    }

    /// A state from which no calm one can be reached, if there is one.
    fn stuck(&self) -> Option<u32> {
        let count = self.parents.len();
        let mut begins = vec![0_u32; count + 1];
        for (_, to) in &self.edges {
            begins[*to as usize + 1] += 1;
        }
        for index in 0..count {
            begins[index + 1] += begins[index];
        }
        let mut next = begins.clone();
        let mut sources = vec![0_u32; self.edges.len()];
        for (from, to) in &self.edges {
            let place = &mut next[*to as usize];
            sources[*place as usize] = *from;
            *place += 1;
        }
        let mut reaches = vec![false; count];
        let mut open = self.calm.clone();
        for calm in &self.calm {
            reaches[*calm as usize] = true;
        }
        while let Some(state) = open.pop() {
            let (begin, end) = (begins[state as usize], begins[state as usize + 1]);
            for from in &sources[begin as usize..end as usize] {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        let stuck = reaches.iter().position(|reaches| !reaches)?;
        u32::try_from(stuck).ok()
    }

    fn counterexample(
        &self,
        world: &Configuration,
        at: u32,
        last: Option<Action>,
        what: String,
    ) -> Counterexample {
        let mut actions: Vec<Action> = last.into_iter().collect();
        let mut state = at;
        while let Some((parent, Some(action))) = self.parents.get(state as usize) {
            actions.push(*action);
            state = *parent;
        }
        actions.reverse();
        Counterexample {
            what,
            path: tell(world, &actions),
            states: self.parents.len(),
        }
    }
}

/// A path in words: what happened, and what both machines then waited for.
fn tell(world: &Configuration, actions: &[Action]) -> Vec<String> {
    let mut lines = Vec::new();
    let Ok(mut state) = State::new(world) else {
        return lines;
    };
    let mut play = |state: &mut State, action: Action| {
        let what = state.describe(action);
        let (then, goes_on) = match state.after(action, world) {
            Ok(next) => {
                *state = next;
                (state.phases(), true)
            }
            Err(broken) => (broken, false),
        };
        lines.push(format!("{what:<70}  {then}"));
        goes_on
    };
    if !actions.iter().all(|action| play(&mut state, *action)) {
        return lines;
    }
    let mut choices = Vec::new();
    for _ in 0..LINES_BEYOND {
        state.actions(world, &mut choices);
        if !choices
            .first()
            .is_some_and(|first| play(&mut state, *first))
        {
            break;
        }
    }
    lines.push(state.leftovers());
    lines
}
