//! The workers' promises, against a backend that does what the test tells it.
//!
//! Nothing here depends on how fast the machine is: a test waits for events, and timeouts are either far away or
//! the very thing under test.

#![expect(clippy::float_cmp, reason = "the fake's predictions are exact")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::fake::{Behaviour, Fake};
use crate::engine::*;
use crate::frame::network_io::*;
use crate::workers::*;

/// Longer than any test may take.
const FAR: Duration = Duration::from_mins(10);

fn options() -> WorkerOptions {
    WorkerOptions {
        hang_timeout: FAR,
        stop_timeout: FAR,
        warm_up: false,
        ..WorkerOptions::default()
    }
}

fn spawn(fake: &Fake, options: WorkerOptions) -> Workers {
    Workers::spawn(fake, "a.onnx".as_ref(), options).unwrap()
}

/// A frame whose prediction is `value + 0.5`.
fn frame(value: f32) -> FrameInput {
    FrameInput::new(
        Arc::new(vec![value; VISUAL_LEN]),
        Arc::new(vec![0.5_f32; AUDIO_LEN]),
    )
}

/// A tensor of one value, made when a session asks for it.
struct Constant(f32);

impl VisualSource for Constant {
    fn write(&self, out: &mut [f32]) {
        assert!(self.0 >= 0.0, "on purpose");
        assert_eq!(out.len(), VISUAL_LEN);
        out.fill(self.0);
    }
}

/// The same frame, whose tensor is made by the session's thread.
fn made(value: f32) -> FrameInput {
    FrameInput {
        visual: Visual::Made(Arc::new(Constant(value))),
        ..frame(value)
    }
}

/// Submits and checks nothing.
fn submit(workers: &Workers, value: f32, flow: u64) -> FrameTicket {
    workers.submit(frame(value).with_flow(flow)).unwrap()
}

#[track_caller]
fn assert_prediction(result: Result<Prediction, InferenceError>, value: f32) {
    let prediction = result.unwrap();
    assert_eq!(prediction.len(), PREDICTION_LEN);
    assert!(
        prediction.iter().all(|&float| float == value + 0.5),
        "frame {value} got {}",
        prediction[0]
    );
}

/// Gives up the processor until the condition holds.
fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < end, "waited for nothing");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn every_caller_gets_its_own_frame() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            sessions: 3,
            max_batch: 4,
            ..options()
        },
    );
    let tickets: Vec<_> = (0..40_u8)
        .map(|i| (i, submit(&workers, f32::from(i), u64::from(i % 5))))
        .collect();
    for (i, ticket) in tickets {
        assert_prediction(ticket.await, f32::from(i));
    }
    assert_eq!(workers.stats().frames, 40);
    assert_eq!(workers.stats().queued, 0);
}

#[tokio::test]
async fn frames_of_a_flow_keep_their_order_and_flows_take_turns() {
    let fake = Fake::new();
    let workers = spawn(&fake, options());
    fake.pause();
    let mut tickets = vec![submit(&workers, 0.0, 1)];
    fake.wait_for_runs(1);
    for (value, flow) in [(1.0, 1), (2.0, 1), (3.0, 1), (10.0, 2), (11.0, 2)] {
        tickets.push(submit(&workers, value, flow));
    }
    fake.resume();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    let order: Vec<f32> = fake.runs().concat();
    // Flow 1 has had a frame already. How the rest alternates depends on what the first took.
    assert_eq!(order[..2], [0.0, 10.0]);
    let (first, second): (Vec<f32>, Vec<f32>) = order.iter().partition(|value| **value < 10.0);
    assert_eq!(
        (first, second),
        (vec![0.0, 1.0, 2.0, 3.0], vec![10.0, 11.0])
    );
    let place = |value| order.iter().position(|other| *other == value);
    assert!(place(11.0) < place(3.0), "{order:?}");
}

#[tokio::test]
async fn waiting_frames_share_a_run_up_to_the_limit() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            max_batch: 3,
            ..options()
        },
    );
    fake.pause();
    let mut tickets = vec![submit(&workers, 0.0, 1)];
    fake.wait_for_runs(1);
    tickets.extend((1..=4_u8).map(|i| submit(&workers, f32::from(i), 1)));
    fake.resume();
    for (i, ticket) in (0_u8..).zip(tickets) {
        assert_prediction(ticket.await, f32::from(i));
    }
    assert_eq!(fake.runs(), [vec![0.0], vec![1.0, 2.0, 3.0], vec![4.0]]);
    let stats = workers.stats();
    assert_eq!((stats.frames, stats.batches), (5, 3));
}

#[tokio::test]
async fn a_batch_waits_for_its_last_frame() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            max_batch: 2,
            batch_delay: FAR,
            ..options()
        },
    );
    let first = submit(&workers, 1.0, 1);
    let second = submit(&workers, 2.0, 2);
    assert_prediction(first.await, 1.0);
    assert_prediction(second.await, 2.0);
    assert_eq!(fake.runs(), [vec![1.0, 2.0]]);
}

#[tokio::test]
async fn a_batch_runs_unfilled_when_its_delay_is_over() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            max_batch: 2,
            batch_delay: Duration::from_millis(5),
            ..options()
        },
    );
    assert_prediction(workers.infer(frame(1.0)).await, 1.0);
}

#[tokio::test]
async fn a_network_that_takes_one_frame_gets_one_at_a_time() {
    let fake = Fake::new();
    fake.set_max_batch(1);
    let workers = spawn(
        &fake,
        WorkerOptions {
            max_batch: 8,
            batch_delay: FAR,
            ..options()
        },
    );
    assert_eq!(workers.max_batch(), 1);
    assert_prediction(workers.infer(frame(1.0)).await, 1.0);
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            queue_frames: 2,
            ..options()
        },
    );
    fake.pause();
    let running = submit(&workers, 0.0, 1);
    fake.wait_for_runs(1);
    let waiting = [submit(&workers, 1.0, 1), submit(&workers, 2.0, 1)];
    let error = workers.submit(frame(3.0).with_flow(1)).unwrap_err();
    assert!(
        matches!(error, InferenceError::QueueFull { limit: 2 }),
        "{error}"
    );
    // Another flow has less than its share of the queue: the newest frame makes way.
    let other = submit(&workers, 4.0, 2);
    fake.resume();
    running.await.unwrap();
    other.await.unwrap();
    let [kept, displaced] = waiting;
    kept.await.unwrap();
    assert!(matches!(
        displaced.await,
        Err(InferenceError::QueueFull { .. })
    ));
}

#[tokio::test]
async fn tensors_made_by_the_session_mix_with_those_that_are_there() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            sessions: 2,
            max_batch: 3,
            ..options()
        },
    );
    let tickets: Vec<_> = (0..20_u8)
        .map(f32::from)
        .map(|value| {
            let input = if value % 2.0 == 0.0 {
                made(value)
            } else {
                frame(value)
            };
            (value, workers.submit(input).unwrap())
        })
        .collect();
    for (value, ticket) in tickets {
        assert_prediction(ticket.await, value);
    }
}

#[tokio::test]
async fn a_tensor_that_cannot_be_made_fails_its_own_frame_only() {
    let workers = spawn(&Fake::new(), options());
    let error = workers.infer(made(-1.0)).await.unwrap_err();
    assert!(
        matches!(error, InferenceError::WorkerPanicked { .. }),
        "{error}"
    );
    assert_prediction(workers.infer(made(3.0)).await, 3.0);
}

#[tokio::test]
async fn wrong_lengths_are_refused_before_they_queue() {
    let workers = spawn(&Fake::new(), options());
    let short = FrameInput::new(Arc::new(vec![0.0_f32; 3]), frame(0.0).audio);
    let error = workers.infer(short).await.unwrap_err().to_string();
    assert_eq!(error, "the visual tensor has 3 floats, expected 614400");
}

#[tokio::test]
async fn a_dropped_ticket_frees_its_place_and_costs_no_run() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            queue_frames: 1,
            ..options()
        },
    );
    fake.pause();
    let running = submit(&workers, 0.0, 1);
    fake.wait_for_runs(1);
    drop(submit(&workers, 1.0, 1));
    let last = submit(&workers, 2.0, 1);
    fake.resume();
    running.await.unwrap();
    last.await.unwrap();
    assert_eq!(fake.runs(), [vec![0.0], vec![2.0]]);
    assert_eq!(workers.stats().dropped, 1);
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_stopped() {
    let fake = Fake::new();
    let workers = spawn(&fake, options());
    fake.behave([Behaviour::HangUntilCancelled]);
    let unwanted = submit(&workers, 0.0, 1);
    fake.wait_for_runs(1);
    drop(unwanted);
    assert_prediction(workers.infer(frame(1.0)).await, 1.0);
    assert_eq!(fake.sessions_opened(), 1);
}

#[tokio::test]
async fn a_run_goes_on_while_somebody_waits_for_a_frame_of_it() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            max_batch: 2,
            batch_delay: FAR,
            ..options()
        },
    );
    fake.pause();
    let leaves = submit(&workers, 1.0, 1);
    let stays = submit(&workers, 2.0, 2);
    fake.wait_for_runs(1);
    drop(leaves);
    fake.resume();
    assert_prediction(stays.await, 2.0);
}

#[tokio::test]
async fn a_passed_deadline_is_refused_at_once() {
    let fake = Fake::new();
    let workers = spawn(&fake, options());
    let error = workers
        .infer(frame(1.0).with_deadline(Some(Instant::now())))
        .await
        .unwrap_err();
    assert!(matches!(error, InferenceError::DeadlineExceeded), "{error}");
    assert!(fake.runs().is_empty());
}

#[tokio::test]
async fn a_deadline_answers_a_queued_frame_and_frees_its_place() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            queue_frames: 1,
            ..options()
        },
    );
    fake.pause();
    let running = submit(&workers, 0.0, 1);
    fake.wait_for_runs(1);
    let soon = Some(Instant::now() + Duration::from_millis(20));
    let late = workers.submit(frame(1.0).with_deadline(soon)).unwrap();
    let error = late.await.unwrap_err();
    assert!(matches!(error, InferenceError::DeadlineExceeded), "{error}");
    let next = submit(&workers, 2.0, 1);
    fake.resume();
    running.await.unwrap();
    next.await.unwrap();
    assert_eq!(fake.runs(), [vec![0.0], vec![2.0]]);
}

#[tokio::test]
async fn a_deadline_stops_a_run() {
    let fake = Fake::new();
    let workers = spawn(&fake, options());
    fake.behave([Behaviour::HangUntilCancelled]);
    let soon = Some(Instant::now() + Duration::from_millis(20));
    let error = workers
        .infer(frame(0.0).with_deadline(soon))
        .await
        .unwrap_err();
    assert!(matches!(error, InferenceError::DeadlineExceeded), "{error}");
    assert_prediction(workers.infer(frame(1.0)).await, 1.0);
}

#[tokio::test]
async fn an_error_of_the_network_reaches_every_frame_of_its_run_and_no_other() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            max_batch: 2,
            batch_delay: FAR,
            ..options()
        },
    );
    fake.behave([Behaviour::Fail]);
    let tickets: Vec<_> = (0..4_u8)
        .map(|i| submit(&workers, f32::from(i), 1))
        .collect();
    for (i, ticket) in (0_u8..).zip(tickets) {
        let result = ticket.await;
        if i < 2 {
            let error = result.unwrap_err().to_string();
            assert!(error.starts_with("the network a.onnx failed"), "{error}");
        } else {
            assert_prediction(result, f32::from(i));
        }
    }
}

#[tokio::test]
async fn a_panic_fails_its_frame_and_the_session_is_replaced() {
    let fake = Fake::new();
    let workers = spawn(&fake, options());
    fake.behave([Behaviour::Panic]);
    let error = workers.infer(frame(0.0)).await.unwrap_err().to_string();
    assert!(error.contains("the fake was told to panic"), "{error}");
    assert_prediction(workers.infer(frame(1.0)).await, 1.0);
    assert_eq!(fake.sessions_opened(), 2);
    assert_eq!(fake.sessions_alive(), 1);
    assert_eq!(workers.stats().replaced, 1);
}

#[tokio::test]
async fn a_hang_that_can_be_stopped_keeps_its_session() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            hang_timeout: Duration::from_millis(20),
            ..options()
        },
    );
    fake.behave([Behaviour::HangUntilCancelled]);
    let error = workers.infer(frame(0.0)).await.unwrap_err();
    assert!(
        matches!(error, InferenceError::WorkerHung { .. }),
        "{error}"
    );
    assert_prediction(workers.infer(frame(1.0)).await, 1.0);
    assert_eq!(fake.sessions_opened(), 1);
}

#[tokio::test]
async fn a_hang_that_cannot_be_stopped_is_replaced_and_its_late_result_is_lost() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            hang_timeout: Duration::from_millis(20),
            stop_timeout: Duration::from_millis(20),
            ..options()
        },
    );
    fake.behave([Behaviour::Hang]);
    let error = workers.infer(frame(0.0)).await.unwrap_err();
    assert!(
        matches!(error, InferenceError::WorkerHung { .. }),
        "{error}"
    );
    assert_prediction(workers.infer(frame(1.0)).await, 1.0);
    assert_eq!(fake.sessions_opened(), 2);
    fake.release_hanging();
    wait_until(|| fake.sessions_alive() == 1);
    assert_prediction(workers.infer(frame(2.0)).await, 2.0);
    assert_eq!(workers.stats().replaced, 1);
}

#[tokio::test]
async fn without_a_session_frames_fail_at_once_until_one_opens_again() {
    let fake = Fake::new();
    let workers = spawn(&fake, options());
    fake.behave([Behaviour::Panic]);
    fake.fail_opening(Some("out of memory"));
    workers.infer(frame(0.0)).await.unwrap_err();
    // The first frames may still be queued when the attempt fails; they fail the same way.
    let error = workers.infer(frame(1.0)).await.unwrap_err().to_string();
    assert!(
        error.contains("no inference worker") && error.contains("out of memory"),
        "{error}"
    );
    fake.fail_opening(None);
    wait_until(|| fake.sessions_alive() == 1);
    // The session is announced right after it has opened.
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        match workers.infer(frame(2.0)).await {
            Err(InferenceError::NoWorker { .. }) if Instant::now() < end => {}
            result => break assert_prediction(result, 2.0),
        }
    }
}

#[tokio::test]
async fn a_session_that_does_not_open_fails_the_spawn_and_leaves_nothing() {
    let fake = Fake::new();
    fake.fail_opening(Some("no such operator"));
    let error = Workers::spawn(&fake, "a.onnx".as_ref(), options()).unwrap_err();
    assert!(error.to_string().contains("no such operator"), "{error}");
    assert_eq!(fake.sessions_alive(), 0);
}

#[tokio::test]
async fn a_failing_warm_up_fails_the_spawn() {
    let fake = Fake::new();
    fake.behave([Behaviour::Fail]);
    let error = Workers::spawn(
        &fake,
        "a.onnx".as_ref(),
        WorkerOptions {
            warm_up: true,
            ..options()
        },
    )
    .unwrap_err();
    assert!(error.to_string().contains("told to fail"), "{error}");
    assert_eq!(fake.sessions_alive(), 0);
}

#[tokio::test]
async fn closing_fails_what_waits_stops_what_runs_and_frees_the_sessions() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            sessions: 2,
            ..options()
        },
    );
    fake.behave([Behaviour::HangUntilCancelled, Behaviour::HangUntilCancelled]);
    let tickets: Vec<_> = (0..4_u8)
        .map(|i| submit(&workers, f32::from(i), 1))
        .collect();
    fake.wait_for_runs(2);
    drop(workers);
    assert_eq!(fake.sessions_alive(), 0);
    for ticket in tickets {
        let error = ticket.await.unwrap_err();
        assert!(matches!(error, InferenceError::Cancelled), "{error}");
    }
}

#[tokio::test]
async fn closing_does_not_wait_for_a_thread_that_never_ends() {
    let fake = Fake::new();
    let workers = spawn(
        &fake,
        WorkerOptions {
            stop_timeout: Duration::from_millis(20),
            ..options()
        },
    );
    fake.behave([Behaviour::Hang]);
    let ticket = submit(&workers, 0.0, 1);
    fake.wait_for_runs(1);
    drop(workers);
    fake.release_hanging();
    wait_until(|| fake.sessions_alive() == 0);
    let error = ticket.await.unwrap_err();
    assert!(matches!(error, InferenceError::Cancelled), "{error}");
}

#[tokio::test]
async fn times_are_those_of_the_run_and_of_the_wait_before_it() {
    let fake = Fake::new();
    let workers = spawn(&fake, options());
    fake.pause();
    let first = submit(&workers, 0.0, 1);
    fake.wait_for_runs(1);
    let queued_at = Instant::now();
    let second = submit(&workers, 1.0, 1);
    std::thread::sleep(Duration::from_millis(10));
    fake.resume();
    let first = first.await.unwrap();
    let second = second.await.unwrap();
    let all = queued_at.elapsed();
    assert!(first.inference >= Duration::from_millis(10));
    assert!(second.queued >= Duration::from_millis(10) && second.queued <= all);
    assert!(second.inference + second.queued <= all);
    assert_eq!(
        workers.stats().inference,
        first.inference + second.inference
    );
}
