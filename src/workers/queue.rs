//! A bounded queue of many flows, which share its room by weight.

use std::collections::{HashMap, VecDeque};

use super::turns::FlowRule;

/// Items of many flows: first in, first out within a flow; which flow is next, [`Turns`](super::Turns) says.
///
/// A full queue is no reason to refuse a flow that has less than its share of it: the flow that has the most over its
/// own gives up its newest item.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    flows: HashMap<u64, VecDeque<(u64, T)>>,
    /// The flows that have items, the next to serve first.
    turns: VecDeque<u64>,
    len: usize,
    limit: usize,
}

impl<T> FairQueue<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            flows: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The flows that have items.
    pub(super) fn flows(&self) -> impl Iterator<Item = u64> {
        self.turns.iter().copied()
    }

    /// Appends to a flow. Gives the item that had to make room, or this one back where there is none for it.
    pub(super) fn push(
        &mut self,
        flow: u64,
        id: u64,
        item: T,
        rule: impl Fn(u64) -> FlowRule,
    ) -> Result<Option<T>, T> {
        let held = self.flows.get(&flow).map_or(0, VecDeque::len);
        if rule(flow).queue_frames.is_some_and(|most| held >= most) {
            return Err(item);
        }
        let mut displaced = None;
        if self.len >= self.limit {
            let Some(victim) = self.above_its_share(flow, held, rule) else {
                return Err(item);
            };
            let newest = self.flows[&victim].back().map(|(id, _)| *id);
            displaced = newest.and_then(|newest| self.remove(victim, newest));
        }
        let items = self.flows.entry(flow).or_default();
        if items.is_empty() {
            self.turns.push_back(flow);
        }
        items.push_back((id, item));
        self.len += 1;
        Ok(displaced)
    }

    /// The flow that has most over its share of the queue, if `flow` with its `held` items has less than its own.
    fn above_its_share(
        &self,
        flow: u64,
        held: usize,
        rule: impl Fn(u64) -> FlowRule,
    ) -> Option<u64> {
        let weight = |flow| u64::from(rule(flow).weight.max(1));
        let others = self.turns.iter().filter(|other| **other != flow);
        let total: u64 = weight(flow) + others.map(|other| weight(*other)).sum::<u64>();
        let share = |flow| ((self.limit as u64 * weight(flow) / total) as usize).max(1);
        if held >= share(flow) {
            return None;
        }
        self.flows
            .iter()
            .filter(|(other, items)| **other != flow && items.len() > share(**other))
            .max_by_key(|(other, items)| (items.len() - share(**other), **other))
            .map(|(other, _)| *other)
    }

    /// The oldest item of the flow with the smallest `key`; of equals, of the one whose turn was longest ago.
    pub(super) fn pop<K: Ord>(&mut self, key: impl Fn(u64) -> K) -> Option<(u64, u64, T)> {
        let place = (0..self.turns.len()).min_by_key(|place| key(self.turns[*place]))?;
        let flow = self.turns.remove(place)?;
        let items = self.flows.get_mut(&flow)?;
        let item = items.pop_front()?;
        self.len -= 1;
        if items.is_empty() {
            self.flows.remove(&flow);
        } else {
            self.turns.push_back(flow);
        }
        Some((flow, item.0, item.1))
    }

    /// Takes one item out of its flow.
    pub(super) fn remove(&mut self, flow: u64, id: u64) -> Option<T> {
        let items = self.flows.get_mut(&flow)?;
        let index = items.iter().position(|(other, _)| *other == id)?;
        let (_, item) = items.remove(index)?;
        self.len -= 1;
        if items.is_empty() {
            self.flows.remove(&flow);
            self.turns.retain(|other| *other != flow);
        }
        Some(item)
    }

    /// Takes out every item that `is_out` says.
    pub(super) fn take_if(&mut self, is_out: impl Fn(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        for items in self.flows.values_mut() {
            for index in (0..items.len()).rev() {
                if is_out(&items[index].1)
                    && let Some((_, item)) = items.remove(index)
                {
                    out.push(item);
                }
            }
        }
        self.len -= out.len();
        self.flows.retain(|_, items| !items.is_empty());
        let flows = &self.flows;
        self.turns.retain(|flow| flows.contains_key(flow));
        out
    }

    /// Every item, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.flows.values().flatten().map(|(_, item)| item)
    }

    /// The oldest item of each flow.
    pub(super) fn fronts(&self) -> impl Iterator<Item = &T> {
        self.flows
            .values()
            .filter_map(|items| items.front())
            .map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn equal(_: u64) -> FlowRule {
        FlowRule::default()
    }

    fn drain(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop(|_| 0))
            .map(|(_, _, item)| item)
            .collect()
    }

    #[test]
    fn flows_take_turns_and_keep_their_order() {
        let mut queue = FairQueue::new(10);
        for (id, (flow, item)) in [
            (1, "a1"),
            (1, "a2"),
            (1, "a3"),
            (2, "b1"),
            (3, "c1"),
            (2, "b2"),
        ]
        .into_iter()
        .enumerate()
        {
            queue.push(flow, id as u64, item, equal).unwrap();
        }
        assert_eq!(drain(&mut queue), ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert!(queue.flows.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let mut queue = FairQueue::new(1);
        queue.push(1, 1, "a", equal).unwrap();
        assert_eq!(queue.push(1, 2, "b", equal), Err("b"));
        assert_eq!(queue.push(2, 2, "b", equal), Err("b"), "nobody has more");
        queue.pop(|_| 0);
        queue.push(2, 2, "b", equal).unwrap();
    }

    #[test]
    fn who_has_less_than_its_share_finds_room() {
        let mut queue = FairQueue::new(8);
        for id in 0..8 {
            queue.push(1, id, "greedy", equal).unwrap();
        }
        assert!(queue.push(1, 8, "more", equal).is_err());
        for id in 8..12 {
            assert_eq!(queue.push(2, id, "polite", equal), Ok(Some("greedy")));
        }
        assert!(queue.push(2, 12, "greedy, too", equal).is_err());
        assert_eq!(queue.len(), 8);
        let few = |_| FlowRule {
            queue_frames: Some(1),
            ..FlowRule::default()
        };
        let mut queue = FairQueue::new(8);
        queue.push(1, 0, "a", few).unwrap();
        assert!(queue.push(1, 1, "b", few).is_err(), "its own limit");
    }

    #[test]
    fn the_smallest_key_goes_first() {
        let mut queue = FairQueue::new(8);
        for flow in [1, 2, 3] {
            queue.push(flow, flow, "", equal).unwrap();
        }
        let order = std::iter::from_fn(|| queue.pop(|flow| flow != 3)).map(|(flow, ..)| flow);
        assert_eq!(order.collect::<Vec<_>>(), [3, 1, 2]);
    }

    /// Random pushes, pops and removals leave nothing behind and lose nothing.
    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        Pop,
        Remove(u64, u64),
        TakeOdd,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_u64).prop_map(Step::Push),
            2 => Just(Step::Pop),
            1 => (0..4_u64, 0..40_u64).prop_map(|(flow, id)| Step::Remove(flow, id)),
            1 => Just(Step::TakeOdd),
        ]
    }

    proptest! {
        #[test]
        fn every_item_comes_out_once(steps in prop::collection::vec(step(), 0..80)) {
            let mut queue = FairQueue::new(8);
            let mut inside: Vec<(u64, u64)> = Vec::new();
            for (id, step) in steps.into_iter().enumerate() {
                let id = id as u64;
                match step {
                    Step::Push(flow) => {
                        let full = inside.len() == 8;
                        match queue.push(flow, id, (flow, id), equal) {
                            Ok(displaced) => {
                                prop_assert_eq!(displaced.is_some(), full);
                                inside.retain(|item| Some(*item) != displaced);
                                inside.push((flow, id));
                            }
                            Err(_) => prop_assert!(full),
                        }
                    }
                    Step::Pop => {
                        let popped = queue.pop(|_| 0).map(|(_, _, item)| item);
                        prop_assert_eq!(popped.is_none(), inside.is_empty());
                        if let Some((flow, id)) = popped {
                            let oldest = inside.iter().find(|item| item.0 == flow).copied();
                            prop_assert_eq!(oldest, Some((flow, id)));
                            inside.retain(|item| *item != (flow, id));
                        }
                    }
                    Step::Remove(flow, id) => {
                        let there = inside.contains(&(flow, id));
                        prop_assert_eq!(queue.remove(flow, id).is_some(), there);
                        inside.retain(|item| *item != (flow, id));
                    }
                    Step::TakeOdd => {
                        let mut taken = queue.take_if(|item| item.1 % 2 == 1);
                        taken.sort_unstable();
                        let mut odd: Vec<_> =
                            inside.iter().copied().filter(|item| item.1 % 2 == 1).collect();
                        odd.sort_unstable();
                        prop_assert_eq!(taken, odd);
                        inside.retain(|item| item.1 % 2 == 0);
                    }
                }
                prop_assert_eq!(queue.len(), inside.len());
                prop_assert_eq!(queue.iter().count(), inside.len());
                prop_assert_eq!(queue.turns.len(), queue.flows.len());
            }
        }
    }
}
