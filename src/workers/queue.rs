//! A bounded queue in which flows take turns.

use std::collections::{HashMap, VecDeque};

/// Items of many flows: first in, first out within a flow, one item of each flow in turn.
///
/// A request of 25 frames thus delays another request's frame by one frame a round, not by 25.
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

    pub(super) fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// Appends to a flow, or gives the item back when the queue is full.
    pub(super) fn push(&mut self, flow: u64, id: u64, item: T) -> Result<(), T> {
        if self.is_full() {
            return Err(item);
        }
        let items = self.flows.entry(flow).or_default();
        if items.is_empty() {
            self.turns.push_back(flow);
        }
        items.push_back((id, item));
        self.len += 1;
        Ok(())
    }

    /// The next flow's oldest item.
    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        let flow = self.turns.pop_front()?;
        let items = self.flows.get_mut(&flow)?;
        let item = items.pop_front()?;
        self.len -= 1;
        if items.is_empty() {
            self.flows.remove(&flow);
        } else {
            self.turns.push_back(flow);
        }
        Some(item)
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

    fn drain(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop())
            .map(|(_, item)| item)
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
            queue.push(flow, id as u64, item).unwrap();
        }
        assert_eq!(drain(&mut queue), ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert!(queue.flows.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let mut queue = FairQueue::new(1);
        queue.push(1, 1, "a").unwrap();
        assert_eq!(queue.push(2, 2, "b"), Err("b"));
        queue.pop();
        queue.push(2, 2, "b").unwrap();
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
                        prop_assert_eq!(queue.push(flow, id, (flow, id)).is_err(), full);
                        if !full {
                            inside.push((flow, id));
                        }
                    }
                    Step::Pop => {
                        let popped = queue.pop().map(|(_, item)| item);
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
