use super::pose::Pose;
use super::*;

/// Pixels of the rect that are nearly black or nearly white: the inside of a mouth, or teeth.
fn inside(artist: &Artist, frame: &Frame, index: usize) -> usize {
    let rect = artist.rect(index);
    // The middle third across, and below the nose.
    let third = rect.size().width / 3;
    let rows = rect.y1() + rect.size().height / 5..rect.y1() + rect.size().height * 3 / 5;
    rows.flat_map(|y| {
        frame.row(y)[3 * (rect.x1() + third) as usize..][..3 * third as usize]
            .as_chunks::<3>()
            .0
    })
    .filter(|[red, green, _]| (*red < 110 && *green < 26) || *green > 215)
    .count()
}

#[test]
fn the_same_frame_and_mouth_give_the_same_pixels() {
    for who in Who::ALL {
        let mouth = Mouth::new(0.6, 0.4);
        let frame = Artist::new(who).draw(31, mouth);
        assert_eq!(frame.size(), SIZE);
        assert!(Artist::new(who).draw(31, mouth) == frame, "{}", who.name());
        assert!(
            Artist::new(who).draw(31 + FRAMES, mouth) == frame,
            "{}",
            who.name()
        );
    }
}

#[test]
fn what_moves_with_the_mouth_is_inside_the_rect() {
    // Soft shading along the jaw's edge fades out without an end.
    const FAINT: u8 = 4;
    for who in Who::ALL {
        let artist = Artist::new(who);
        for index in [0, 23, 61, 88] {
            let shut = artist.draw(index, Mouth::SHUT);
            let open = artist.draw(index, Mouth::new(1.0, 0.9));
            let rect = artist.rect(index);
            let mut changed = 0;
            for y in 0..SIZE.height {
                let rows = shut.row(y).iter().zip(open.row(y));
                for (byte, (a, b)) in rows.enumerate() {
                    if a.abs_diff(*b) > FAINT {
                        let x = byte as u32 / 3;
                        let inside = (rect.x1()..rect.x2()).contains(&x)
                            && (rect.y1()..rect.y2()).contains(&y);
                        let name = who.name();
                        assert!(inside, "{name} frame {index}: {x},{y} is outside {rect}");
                        changed += 1;
                    }
                }
            }
            assert!(changed > 3000, "{} frame {index}: {changed}", who.name());
        }
    }
}

#[test]
fn a_mouth_that_opens_shows_more_of_its_inside() {
    for who in Who::ALL {
        let artist = Artist::new(who);
        let shown = [0.0, 0.25, 0.5, 0.75, 1.0].map(|opening| {
            let frame = artist.draw(10, Mouth::new(opening, 0.5));
            inside(&artist, &frame, 10)
        });
        assert!(
            shown.is_sorted_by(|a, b| a < b),
            "{}: {shown:?}",
            who.name()
        );
        assert!(shown[4] > shown[0] + 400, "{}: {shown:?}", who.name());
    }
}

#[test]
fn rects_are_squares_inside_the_frame_that_follow_the_head() {
    for who in Who::ALL {
        let artist = Artist::new(who);
        let rects: Vec<Rect> = (0..FRAMES).map(|index| artist.rect(index)).collect();
        for rect in &rects {
            let Size { width, height } = rect.size();
            assert_eq!(width, height);
            assert!((180..=260).contains(&width), "{rect}");
            assert!(rect.fits(SIZE), "{rect}");
        }
        let moved = |a: &Rect, b: &Rect| a.x1().abs_diff(b.x1()).max(a.y1().abs_diff(b.y1()));
        assert!(
            rects.windows(2).all(|pair| moved(&pair[0], &pair[1]) <= 3),
            "a jump"
        );
        assert!(
            rects.iter().any(|rect| moved(rect, &rects[0]) >= 5),
            "no motion"
        );
    }
}

#[test]
fn the_head_comes_to_rest_at_both_ends_and_the_eyes_blink_in_between() {
    for who in Who::ALL {
        let temper = &who.person().temper;
        let pose = |index| Pose::at(index, temper);
        for (a, b) in [(0, 1), (FRAMES - 1, FRAMES - 2)] {
            assert!((pose(a).shift.0 - pose(b).shift.0).abs() < 0.15);
            assert!((pose(a).roll - pose(b).roll).abs() < 0.05);
        }
        let shut = (0..FRAMES).filter(|&index| pose(index).blink > 0.8).count();
        assert!((2..=12).contains(&shut), "{shut} frames with eyes shut");
        assert!(pose(0).blink == 0.0 && pose(FRAMES - 1).blink == 0.0);
    }
}

#[test]
fn mouths_are_kept_within_bounds() {
    assert_eq!(
        Mouth::new(-1.0, 2.0),
        Mouth {
            opening: 0.0,
            width: 1.0
        }
    );
}
