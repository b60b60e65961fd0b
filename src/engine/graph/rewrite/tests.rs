//! Networks of the family, whole and random, before and after.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::rewrite;
use crate::engine::engine_tests::{assert_close, engines, network, noise};
use crate::engine::graph::model::Model;
use crate::engine::graph::{Attribute, GraphBuilder};
use crate::engine::{Backend, Batch, Cancel, Plan, SessionOptions, VisualCacheLimit};
use crate::frame::network_io::{AUDIO_LEN, PREDICTION_LEN, VISUAL_LEN};

/// Splits every block that has enough channels for two groups.
const GROUPED: Plan = Plan {
    split_up: true,
    group_bytes: Some(1),
};

fn operators(model: &[u8]) -> Vec<String> {
    let model = Model::read(model).unwrap();
    model.nodes.into_iter().map(|node| node.operator).collect()
}

fn count(model: &[u8], operator: &str) -> usize {
    operators(model).iter().filter(|op| *op == operator).count()
}

/// What a network draws by a plan, and the plan that ran.
fn draw(
    backend: &dyn Backend,
    path: &Path,
    plan: Plan,
    kept: bool,
    frames: usize,
) -> (Vec<f32>, Plan) {
    let options = SessionOptions {
        plan,
        visual_cache: kept.then_some(VisualCacheLimit {
            bytes: 1 << 40,
            backgrounds: frames,
        }),
        ..SessionOptions::default()
    };
    let network = backend.open_generator(path, &options).unwrap();
    let visual = noise(frames * VISUAL_LEN, 7);
    let audio = noise(frames * AUDIO_LEN, 8);
    let backgrounds: Vec<_> = (0..frames).map(Some).collect();
    let batch = Batch {
        frames,
        visual: &visual,
        audio: &audio,
        backgrounds: if kept { &backgrounds } else { &[] },
    };
    let mut output = vec![0.0; frames * PREDICTION_LEN];
    let mut session = network.open_session().unwrap();
    // Twice: the second time with every background kept.
    for _ in 0..=usize::from(kept) {
        session.run(&batch, &mut output, &Cancel::new()).unwrap();
    }
    (output, network.plan())
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/assets/unet.onnx")
}

/// Legacy exports of both operator sets with a dynamic batch, whose pads are computed from shapes; one by dynamo; the
/// demo's own, which is wide enough for groups.
fn family() -> Vec<PathBuf> {
    [
        "unet.onnx",
        "unet_legacy_11.onnx",
        "unet_legacy_17.onnx",
        "unet_dynamo.onnx",
    ]
    .map(network)
    .into_iter()
    .chain([demo()])
    .collect()
}

#[test]
fn a_rewritten_network_draws_what_the_plain_one_draws() {
    for backend in engines() {
        for path in family() {
            for frames in [1, 5] {
                // The embedded engine takes its time over the demo's network.
                if frames == 5 && path == demo() && backend.info().library.is_none() {
                    continue;
                }
                let (expected, _) = draw(&*backend, &path, Plan::PLAIN, false, frames);
                for plan in [Plan::SPLIT, GROUPED] {
                    for kept in [false, true] {
                        let (found, ran) = draw(&*backend, &path, plan, kept, frames);
                        assert_eq!(ran, plan, "{}", path.display());
                        assert_close(&found, &expected, 1e-4);
                    }
                }
            }
        }
    }
}

#[test]
fn every_way_up_is_split_whoever_exported_it() {
    for path in family() {
        let bytes = std::fs::read(&path).unwrap();
        let split = rewrite(&bytes, Plan::SPLIT)
            .unwrap()
            .expect("it has something to do");
        // The five skips; what is left concatenates picture and sound.
        let concats = count(&split, "Concat");
        assert_eq!(concats, 1, "{}", path.display());
        // Paddings by nothing go, and with them the shapes they were computed from.
        for gone in ["Pad", "Shape", "Gather"] {
            assert_eq!(count(&split, gone), 0, "{}: {gone}", path.display());
        }
        assert_eq!(count(&split, "Resize"), 5, "{}", path.display());
        assert_eq!(count(&split, "Conv"), count(&bytes, "Conv") + 5);
    }
}

#[test]
fn wide_blocks_are_computed_in_groups() {
    let bytes = std::fs::read(demo()).unwrap();
    let grouped = rewrite(&bytes, GROUPED).unwrap().unwrap();
    assert!(count(&grouped, "Conv") > count(&bytes, "Conv") + 50);
    // Nothing is larger than that.
    let large = Plan {
        split_up: false,
        group_bytes: Some(1 << 30),
    };
    assert_eq!(rewrite(&bytes, large).unwrap(), None);
}

#[test]
fn a_plan_gives_the_same_bytes_every_time() {
    let bytes = std::fs::read(demo()).unwrap();
    assert_eq!(
        rewrite(&bytes, GROUPED).unwrap(),
        rewrite(&bytes, GROUPED).unwrap()
    );
    assert_eq!(rewrite(&bytes, Plan::PLAIN).unwrap(), None);
}

#[test]
fn a_network_of_one_frame_says_so() {
    let bytes = std::fs::read(demo()).unwrap();
    let mut model = Model::read(&bytes).unwrap();
    model.fix_batch().unwrap();
    let bytes = model.write_whole();
    let model = Model::read(&bytes).unwrap();
    for port in model.inputs.iter().chain(&model.outputs) {
        let (_, shape) = port.kind().unwrap();
        assert_eq!(shape.unwrap()[0], Some(1), "{}", port.name);
    }
}

#[test]
fn a_quantised_network_is_left_as_it_is() {
    let bytes = std::fs::read(network("unet_int8.onnx")).unwrap();
    assert_eq!(rewrite(&bytes, GROUPED).unwrap(), None);
}

/// A small network of the family: two pictures, one of them resized, and an inverted residual.
#[derive(Clone, Debug)]
struct Random {
    low: usize,
    skip: usize,
    hidden: usize,
    outputs: usize,
    bias: bool,
    kernel: usize,
    /// Whether somebody else reads the concatenated tensor.
    second_reader: bool,
    resized_first: bool,
    mode: &'static str,
    coordinates: &'static str,
    seed: u32,
}

impl Random {
    #[expect(clippy::too_many_lines, reason = "a graph, node by node")]
    /// Takes the generator's inputs: six channels of 320 pixels, 32 of 16.
    fn build(&self) -> Vec<u8> {
        let mut graph = GraphBuilder::new("random");
        graph.input("input", &[6, 320, 320]);
        graph.input("audio", &[32, 16, 16]);
        graph.output("output", &[3, 320, 320]);
        let mut seed = self.seed;
        let mut conv = |graph: &mut GraphBuilder,
                        name: &str,
                        from: &str,
                        sizes: [usize; 3],
                        group: usize,
                        stride: i64,
                        bias: bool| {
            let [inputs, outputs, kernel] = sizes;
            let shape = [outputs, inputs / group, kernel, kernel];
            let len = shape.iter().product();
            seed += 1;
            let scale = 1.0 / ((inputs / group * kernel * kernel) as f32).sqrt();
            let values: Vec<f32> = noise(len, seed).iter().map(|x| (x - 0.5) * scale).collect();
            graph.constant(&format!("{name}.w"), &shape, &values);
            let (w, b) = (format!("{name}.w"), format!("{name}.b"));
            let mut names = vec![from, &w];
            if bias {
                graph.constant(&b, &[outputs], &noise(outputs, seed));
                names.push(&b);
            }
            let pad = kernel as i64 / 2;
            graph.node(
                "Conv",
                &names,
                name,
                &[
                    ("group", Attribute::Int(group as i64)),
                    ("kernel_shape", Attribute::Ints(&[kernel as i64; 2])),
                    ("strides", Attribute::Ints(&[stride; 2])),
                    ("pads", Attribute::Ints(&[pad; 4])),
                ],
            );
        };
        let g = &mut graph;
        // Small pictures: 320 pixels are 20, the sound's 16 stay.
        conv(g, "skip", "input", [6, self.skip, 1], 1, 10, self.bias);
        conv(g, "sound", "audio", [32, self.low, 1], 1, 1, self.bias);
        g.constant("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
        g.node(
            "Resize",
            &["sound", "", "scales"],
            "resized",
            &[
                ("mode", Attribute::Text(self.mode)),
                (
                    "coordinate_transformation_mode",
                    Attribute::Text(self.coordinates),
                ),
                ("nearest_mode", Attribute::Text("floor")),
            ],
        );
        let joined = if self.resized_first {
            ["resized", "skip"]
        } else {
            ["skip", "resized"]
        };
        g.node("Concat", &joined, "joined", &[("axis", Attribute::Int(1))]);
        let both = self.low + self.skip;
        conv(
            g,
            "expand",
            "joined",
            [both, self.hidden, self.kernel],
            1,
            1,
            self.bias,
        );
        g.node("Relu", &["expand"], "expanded", &[]);
        conv(
            g,
            "deep",
            "expanded",
            [self.hidden, self.hidden, 3],
            self.hidden,
            1,
            self.bias,
        );
        g.node("Relu", &["deep"], "deepened", &[]);
        conv(
            g,
            "project",
            "deepened",
            [self.hidden, self.outputs, 1],
            1,
            1,
            self.bias,
        );
        let mut last = "project";
        if self.second_reader {
            conv(g, "aside", "joined", [both, self.outputs, 1], 1, 1, false);
            g.node("Add", &["project", "aside"], "sum", &[]);
            last = "sum";
        }
        conv(g, "out", last, [self.outputs, 3, 1], 1, 1, self.bias);
        g.constant("up", &[4], &[1.0, 1.0, 10.0, 10.0]);
        g.node(
            "Resize",
            &["out", "", "up"],
            "large",
            &[
                ("mode", Attribute::Text("nearest")),
                (
                    "coordinate_transformation_mode",
                    Attribute::Text("asymmetric"),
                ),
                ("nearest_mode", Attribute::Text("floor")),
            ],
        );
        g.node("Sigmoid", &["large"], "output", &[]);
        graph.finish()
    }
}

fn random() -> impl Strategy<Value = Random> {
    (
        (1_usize..40, 1_usize..40, 1_usize..80, 1_usize..20),
        (any::<bool>(), prop_oneof![Just(1_usize), Just(3)]),
        (any::<bool>(), any::<bool>(), 0_u32..1000),
        prop_oneof![
            Just(("linear", "align_corners")),
            Just(("linear", "half_pixel")),
            Just(("nearest", "asymmetric")),
        ],
    )
        .prop_map(
            |(sizes, (bias, kernel), (second_reader, resized_first, seed), resize)| Random {
                low: sizes.0,
                skip: sizes.1,
                hidden: sizes.2,
                outputs: sizes.3,
                bias,
                kernel,
                second_reader,
                resized_first,
                mode: resize.0,
                coordinates: resize.1,
                seed,
            },
        )
}

fn drawn_by(backend: &Arc<dyn Backend>, bytes: &[u8], frames: usize) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.onnx");
    std::fs::write(&path, bytes).unwrap();
    draw(&**backend, &path, Plan::PLAIN, false, frames).0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_draw_the_same_after_a_rewrite(random in random()) {
        let bytes = random.build();
        let split = rewrite(&bytes, Plan::SPLIT).unwrap();
        // A larger kernel does not commute with a Resize, and a tensor that is needed anyway is not worth avoiding.
        prop_assert_eq!(split.is_some(), random.kernel == 1 && !random.second_reader);
        let grouped = rewrite(&bytes, GROUPED).unwrap();
        prop_assert_eq!(grouped.is_some(), split.is_some() || random.hidden > 16);
        for backend in engines() {
            let expected = drawn_by(&backend, &bytes, 2);
            for rewritten in [&split, &grouped].into_iter().flatten() {
                assert_close(&drawn_by(&backend, rewritten, 2), &expected, 1e-4);
            }
        }
    }
}
