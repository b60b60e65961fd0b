//! Whose frame runs next, over all networks: start-time fair queueing, with as many runs at once as there is room for.
//!
//! Every flow has a tag: the virtual time at which its next frame may start. A frame that starts moves its flow's tag on by
//! what it costs, divided by the flow's weight; the virtual time is the tag of what started last. A flow that was away
//! starts at the virtual time, so it goes before all that had more than their share, and has saved up nothing: its
//! credit is bounded by zero. Urgent flows go before the others.
//!
//! Sessions ask for a turn before they take a frame. So the frames of many networks share the machine by flow, and not by
//! how many networks a flow uses.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Tags of flows that are kept at most before those of flows that had no more than their share are dropped.
const TAGS_KEPT: usize = 1024;

/// What a flow is entitled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRule {
    /// Its part of the machine in relation to the others'.
    pub weight: u32,
    /// Whether its frames go before those of flows that are not urgent.
    pub is_urgent: bool,
    /// Its frames that may wait in one network's queue.
    pub queue_frames: Option<usize>,
}

impl Default for FlowRule {
    fn default() -> Self {
        Self {
            weight: 1,
            is_urgent: true,
            queue_frames: None,
        }
    }
}

/// When a frame may start: the smallest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Start {
    is_deferred: bool,
    at: u64,
}

/// The one list of turns of a process; networks without one of their own share none.
#[derive(Debug)]
pub struct Turns {
    limit: usize,
    state: Mutex<State>,
    /// Sessions wait here for a turn.
    granted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rules: HashMap<u64, FlowRule>,
    tags: HashMap<u64, u64>,
    now: u64,
    running: usize,
    networks: HashMap<u64, Network>,
    next_network: u64,
    arrivals: u64,
}

/// What a network has to do.
#[derive(Debug, Default)]
struct Network {
    /// Flows with frames in its queue.
    flows: Vec<u64>,
    /// Its sessions that wait for a turn, by when they came.
    waiting: Vec<u64>,
    /// Turns that it was given and has not taken.
    given: usize,
}

impl Default for Turns {
    /// Any number of runs at once.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Turns {
    /// So many runs at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            state: Mutex::default(),
            granted: Condvar::new(),
        }
    }

    /// Sets what flows are entitled to; those that are not named have the default.
    pub fn set_rules(&self, rules: HashMap<u64, FlowRule>) {
        self.lock().rules = rules;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rule(&self, flow: u64) -> FlowRule {
        self.rules.get(&flow).copied().unwrap_or_default()
    }

    fn start(&self, flow: u64) -> Start {
        Start {
            is_deferred: !self.rule(flow).is_urgent,
            at: self.tags.get(&flow).copied().unwrap_or(0).max(self.now),
        }
    }

    fn charge(&mut self, flow: u64, cost: Duration) {
        let start = self.start(flow).at;
        let weight = u64::from(self.rule(flow).weight.max(1));
        // Thousandths of microseconds, so that large weights lose little.
        let cost = u64::try_from(cost.as_nanos())
            .unwrap_or(u64::MAX / 2)
            .max(1);
        self.now = self.now.max(start);
        self.tags
            .insert(flow, start.saturating_add((cost / weight).max(1)));
        if self.tags.len() > TAGS_KEPT {
            let now = self.now;
            self.tags.retain(|_, tag| *tag > now);
        }
        // New flows without end would keep the time where it is: then all begin anew, as equals.
        if self.tags.len() > 8 * TAGS_KEPT {
            self.now = self.tags.values().copied().max().unwrap_or(self.now);
            self.tags.clear();
        }
    }

    /// Gives out turns while there are any: each to the network whose best flow may start first.
    fn give(&mut self, limit: usize) -> bool {
        let mut any = false;
        while self.running < limit {
            let best = self.networks.iter().filter_map(|(id, network)| {
                let came = network.waiting.get(network.given)?;
                let start = network.flows.iter().map(|flow| self.start(*flow)).min()?;
                Some((start, *came, *id))
            });
            let Some((_, _, id)) = best.min() else { break };
            if let Some(network) = self.networks.get_mut(&id) {
                network.given += 1;
            }
            self.running += 1;
            any = true;
        }
        any
    }
}

/// One network's place in the list. Dropping it takes it out.
#[derive(Debug)]
pub(super) struct Line {
    turns: Arc<Turns>,
    network: u64,
}

impl Line {
    pub(super) fn new(turns: Arc<Turns>) -> Self {
        let network = {
            let mut state = turns.lock();
            let network = state.next_network;
            state.next_network += 1;
            state.networks.insert(network, Network::default());
            network
        };
        Self { turns, network }
    }

    /// Says which flows have frames in the network's queue.
    pub(super) fn offer(&self, flows: impl Iterator<Item = u64>) {
        self.change(|network| {
            network.flows.clear();
            network.flows.extend(flows);
        });
    }

    /// Waits for a turn, or until `is_over`.
    pub(super) fn wait(&self, is_over: impl Fn() -> bool) -> Option<Turn> {
        let mut state = self.turns.lock();
        let came = state.arrivals;
        state.arrivals += 1;
        state.networks.get_mut(&self.network)?.waiting.push(came);
        loop {
            if state.give(self.turns.limit) {
                self.turns.granted.notify_all();
            }
            let network = state.networks.get_mut(&self.network)?;
            if network.given > 0 {
                network.given -= 1;
                network.waiting.retain(|other| *other != came);
                drop(state);
                return Some(Turn(Arc::clone(&self.turns)));
            }
            if is_over() || network.flows.is_empty() {
                network.waiting.retain(|other| *other != came);
                return None;
            }
            state = self
                .turns
                .granted
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// When a flow's next frame may start.
    pub(super) fn start(&self, flow: u64) -> Start {
        self.turns.lock().start(flow)
    }

    /// What a flow is entitled to.
    pub(super) fn rule(&self, flow: u64) -> FlowRule {
        self.turns.lock().rule(flow)
    }

    /// A frame of `flow` starts, which will take about so long.
    pub(super) fn charge(&self, flow: u64, cost: Duration) {
        self.turns.lock().charge(flow, cost);
    }

    fn change(&self, change: impl FnOnce(&mut Network)) {
        let mut state = self.turns.lock();
        if let Some(network) = state.networks.get_mut(&self.network) {
            change(network);
        }
        // Sessions that wait for nothing any more have to learn it, too.
        state.give(self.turns.limit);
        self.turns.granted.notify_all();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if let Some(network) = state.networks.remove(&self.network) {
            state.running -= network.given;
        }
        state.give(self.turns.limit);
        self.turns.granted.notify_all();
    }
}

/// The right to run, kept for as long as the run takes.
#[derive(Debug)]
pub(super) struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        if state.give(self.0.limit) {
            self.0.granted.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(10);

    fn rules(turns: &Turns, rules: &[(u64, u32, bool)]) {
        turns.set_rules(
            rules
                .iter()
                .map(|&(flow, weight, is_urgent)| {
                    let rule = FlowRule {
                        weight,
                        is_urgent,
                        queue_frames: None,
                    };
                    (flow, rule)
                })
                .collect(),
        );
    }

    /// Who runs in `count` turns when all of these always have frames.
    fn served(line: &Line, flows: &[u64], count: usize) -> HashMap<u64, usize> {
        let mut served = HashMap::new();
        for _ in 0..count {
            let next = *flows.iter().min_by_key(|flow| line.start(**flow)).unwrap();
            line.charge(next, FRAME);
            *served.entry(next).or_default() += 1;
        }
        served
    }

    #[test]
    fn flows_share_by_weight_and_nobody_saves_up() {
        let turns = Arc::new(Turns::default());
        rules(&turns, &[(1, 3, true), (2, 1, true)]);
        let line = Line::new(Arc::clone(&turns));
        let shares = served(&line, &[1, 2], 400);
        assert!((shares[&1] as i64 - 300).abs() <= 2, "{shares:?}");
        // 3 was away for all of this: it goes next, and then takes turns like everybody.
        assert!(line.start(3) <= line.start(1).min(line.start(2)));
        let shares = served(&line, &[2, 3], 100);
        assert!((shares[&3] as i64 - 50).abs() <= 2, "{shares:?}");
    }

    #[test]
    fn who_is_not_urgent_goes_last() {
        let turns = Arc::new(Turns::default());
        rules(&turns, &[(1, 1, false), (2, 1, true)]);
        let line = Line::new(turns);
        let shares = served(&line, &[1, 2], 100);
        assert_eq!(shares.get(&1), None);
        assert_eq!(served(&line, &[1], 10)[&1], 10);
    }

    #[test]
    fn networks_do_not_multiply_a_flows_share() {
        let turns = Arc::new(Turns::new(1));
        let lines: Vec<Line> = (0..8).map(|_| Line::new(Arc::clone(&turns))).collect();
        let polite = Line::new(Arc::clone(&turns));
        for line in &lines {
            line.offer(std::iter::once(1));
        }
        let turn = lines[0].wait(|| false).unwrap();
        lines[0].charge(1, FRAME);
        std::thread::scope(|scope| {
            let (order, ran) = std::sync::mpsc::sync_channel(16);
            for line in &lines {
                let order = order.clone();
                scope.spawn(move || {
                    let turn = line.wait(|| false).unwrap();
                    line.charge(1, FRAME);
                    order.send(1).unwrap();
                    drop(turn);
                });
            }
            // All of them wait before the polite one comes.
            while turns
                .lock()
                .networks
                .values()
                .map(|n| n.waiting.len())
                .sum::<usize>()
                < 8
            {
                std::thread::yield_now();
            }
            polite.offer(std::iter::once(2));
            let (last, polite) = (order.clone(), &polite);
            scope.spawn(move || {
                let turn = polite.wait(|| false).unwrap();
                polite.charge(2, FRAME);
                last.send(2).unwrap();
                drop(turn);
            });
            while turns
                .lock()
                .networks
                .values()
                .map(|n| n.waiting.len())
                .sum::<usize>()
                < 9
            {
                std::thread::yield_now();
            }
            drop(turn);
            drop(order);
            let ran: Vec<u64> = ran.iter().take(9).collect();
            assert_eq!(ran[0], 2, "the polite flow runs next: {ran:?}");
        });
        assert_eq!(turns.lock().running, 0);
    }

    #[test]
    fn who_stops_waiting_leaves_nothing_behind() {
        let turns = Arc::new(Turns::new(1));
        let line = Line::new(Arc::clone(&turns));
        assert!(line.wait(|| false).is_none(), "nothing to do");
        line.offer(std::iter::once(1));
        let turn = line.wait(|| false).unwrap();
        assert!(line.wait(|| true).is_none(), "it is over");
        drop(turn);
        drop(line);
        let state = turns.lock();
        assert!(state.running == 0 && state.networks.is_empty());
    }

    #[test]
    fn tags_are_bounded() {
        let line = Line::new(Arc::new(Turns::default()));
        for flow in 0..10_000 {
            line.charge(flow, FRAME);
        }
        assert!(line.turns.lock().tags.len() <= 8 * TAGS_KEPT);
    }
}
