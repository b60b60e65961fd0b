//! Parameter sets and slice headers (H.264, 7.3.2 and 7.3.3).

use super::entropy::bits::{BitWriter, put_nal};
use super::layout::MbSize;
use crate::frame::Size;

const NAL_SLICE: u8 = 0x61;
const NAL_SLICE_IDR: u8 = 0x65;
const NAL_SPS: u8 = 0x67;
const NAL_PPS: u8 = 0x68;

/// Baseline, constrained: what every decoder plays.
pub(in crate::encoder::h264) const PROFILE: u8 = 66;
/// The constraints of the Constrained Baseline profile.
pub(in crate::encoder::h264) const CONSTRAINTS: u8 = 0b1100_0000;

/// `frame_num` counts pictures from a key picture on with this many bits.
const FRAME_NUMBER_BITS: u32 = 4;

/// What holds for a whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264) struct Stream {
    pub(in crate::encoder::h264) size: Size,
    pub(in crate::encoder::h264) fps: u32,
    pub(in crate::encoder::h264) qp: u8,
    pub(in crate::encoder::h264) level: u8,
}

impl Stream {
    /// The picture in macroblocks.
    pub(in crate::encoder::h264) fn mb_size(&self) -> MbSize {
        MbSize::of(self.size)
    }

    /// Both parameter sets, each with its start code.
    pub(in crate::encoder::h264) fn parameter_sets(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_nal(NAL_SPS, self.sps().finish(), &mut out);
        put_nal(NAL_PPS, self.pps().finish(), &mut out);
        out
    }

    fn sps(&self) -> BitWriter {
        let mut bits = BitWriter::default();
        bits.put(8, u32::from(PROFILE));
        bits.put(8, u32::from(CONSTRAINTS));
        bits.put(8, u32::from(self.level));
        bits.put_ue(0); // seq_parameter_set_id
        bits.put_ue(FRAME_NUMBER_BITS - 4); // log2_max_frame_num_minus4
        bits.put_ue(2); // pic_order_cnt_type: pictures are shown as they come
        bits.put_ue(1); // max_num_ref_frames
        bits.put(1, 0); // gaps_in_frame_num_value_allowed_flag
        let mbs = self.mb_size();
        bits.put_ue(mbs.width - 1);
        bits.put_ue(mbs.height - 1);
        bits.put(1, 1); // frame_mbs_only_flag
        bits.put(1, 1); // direct_8x8_inference_flag
        // In steps of two samples; an odd side is one larger.
        let crop = |mbs: u32, side: u32| (16 * mbs - side) / 2;
        let right = crop(mbs.width, self.size.width);
        let bottom = crop(mbs.height, self.size.height);
        bits.put(1, u32::from(right + bottom > 0)); // frame_cropping_flag
        if right + bottom > 0 {
            for side in [0, right, 0, bottom] {
                bits.put_ue(side);
            }
        }
        bits.put(1, 1); // vui_parameters_present_flag
        self.put_vui(&mut bits);
        bits
    }

    fn put_vui(&self, bits: &mut BitWriter) {
        bits.put(1, 0); // aspect_ratio_info_present_flag
        bits.put(1, 0); // overscan_info_present_flag
        bits.put(1, 1); // video_signal_type_present_flag
        bits.put(3, 5); // video_format: unspecified
        bits.put(1, 0); // video_full_range_flag
        bits.put(1, 1); // colour_description_present_flag
        bits.put(8, 1); // colour_primaries: BT.709
        bits.put(8, 13); // transfer_characteristics: sRGB
        bits.put(8, 1); // matrix_coefficients: BT.709
        bits.put(1, 1); // chroma_loc_info_present_flag
        bits.put_ue(1); // chroma samples lie in the middle of four
        bits.put_ue(1);
        bits.put(1, 1); // timing_info_present_flag
        bits.put(32, 1); // num_units_in_tick: a frame is two
        bits.put(32, 2 * self.fps); // time_scale
        bits.put(1, 1); // fixed_frame_rate_flag
        bits.put(1, 0); // nal_hrd_parameters_present_flag
        bits.put(1, 0); // vcl_hrd_parameters_present_flag
        bits.put(1, 0); // pic_struct_present_flag
        bits.put(1, 1); // bitstream_restriction_flag
        bits.put(1, 0); // motion_vectors_over_pic_boundaries_flag
        bits.put_ue(0); // max_bytes_per_pic_denom: no limit
        bits.put_ue(0); // max_bits_per_mb_denom: no limit
        bits.put_ue(8); // log2_max_mv_length_horizontal
        bits.put_ue(8); // log2_max_mv_length_vertical
        bits.put_ue(0); // max_num_reorder_frames: decoders answer at once
        bits.put_ue(1); // max_dec_frame_buffering
    }

    fn pps(&self) -> BitWriter {
        let mut bits = BitWriter::default();
        bits.put_ue(0); // pic_parameter_set_id
        bits.put_ue(0); // seq_parameter_set_id
        bits.put(1, 0); // entropy_coding_mode_flag: CAVLC
        bits.put(1, 0); // bottom_field_pic_order_in_frame_present_flag
        bits.put_ue(0); // num_slice_groups_minus1
        bits.put_ue(0); // num_ref_idx_l0_default_active_minus1
        bits.put_ue(0); // num_ref_idx_l1_default_active_minus1
        bits.put(1, 0); // weighted_pred_flag
        bits.put(2, 0); // weighted_bipred_idc
        bits.put_se(i32::from(self.qp) - 26); // pic_init_qp_minus26
        bits.put_se(0); // pic_init_qs_minus26
        bits.put_se(0); // chroma_qp_index_offset
        bits.put(1, 1); // deblocking_filter_control_present_flag
        bits.put(1, 0); // constrained_intra_pred_flag
        bits.put(1, 0); // redundant_pic_cnt_present_flag
        bits
    }
}

/// What the slices of one picture say alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264) struct PictureHeader {
    /// Pictures since the last key picture; 0 is one.
    pub(in crate::encoder::h264) number: u32,
    /// Differs between key pictures that follow one another.
    pub(in crate::encoder::h264) key_id: u32,
}

/// What the macroblocks of a slice may be predicted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264) enum SliceKind {
    /// The same picture.
    Intra,
    /// The picture before, too.
    Predicted,
}

impl PictureHeader {
    /// The kind that a picture's slices have if nothing speaks against it.
    pub(in crate::encoder::h264) fn kind(self) -> SliceKind {
        if self.is_key() {
            SliceKind::Intra
        } else {
            SliceKind::Predicted
        }
    }

    pub(in crate::encoder::h264) fn is_key(self) -> bool {
        self.number == 0
    }

    /// Begins the slice whose first macroblock is `first`. Only intra slices may stand in a key picture.
    pub(super) fn put_slice(self, bits: &mut BitWriter, kind: SliceKind, first: u32) {
        bits.put_ue(first);
        bits.put_ue(match kind {
            SliceKind::Predicted => 0,
            SliceKind::Intra => 2,
        }); // slice_type: the picture's others may differ
        bits.put_ue(0); // pic_parameter_set_id
        bits.put(FRAME_NUMBER_BITS, self.number % (1 << FRAME_NUMBER_BITS));
        if self.is_key() {
            bits.put_ue(self.key_id); // idr_pic_id
        }
        if kind == SliceKind::Predicted {
            bits.put(1, 0); // num_ref_idx_active_override_flag
            bits.put(1, 0); // ref_pic_list_modification_flag_l0
        }
        if self.is_key() {
            bits.put(1, 0); // no_output_of_prior_pics_flag
            bits.put(1, 0); // long_term_reference_flag
        } else {
            bits.put(1, 0); // adaptive_ref_pic_marking_mode_flag
        }
        bits.put_se(0); // slice_qp_delta
        bits.put_ue(2); // disable_deblocking_filter_idc: inside slices only
        bits.put_se(0); // slice_alpha_c0_offset_div2
        bits.put_se(0); // slice_beta_offset_div2
    }

    /// The byte before the slice's bits.
    pub(super) fn nal_header(self) -> u8 {
        if self.is_key() {
            NAL_SLICE_IDR
        } else {
            NAL_SLICE
        }
    }
}
