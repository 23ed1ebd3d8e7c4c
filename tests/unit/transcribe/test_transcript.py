import json

from vm_agent.jobs.transcribe.transcript import (
    RESULT_TEXT_MAX,
    Segment,
    Transcript,
    Word,
    as_document,
    as_result,
    as_srt,
    as_text,
    srt_time,
)


def a_transcript(*texts: str) -> Transcript:
    segments = tuple(
        Segment(float(i), i + 0.5, text, -0.2, 0.01, (Word(float(i), i + 0.1, "x", 0.9),))
        for i, text in enumerate(texts)
    )
    return Transcript(segments, "en", 0.98765, 10.0, 0.5, "tiny", "cpu", "int8", "transcribe")


def test_subtitles_are_numbered_timed_and_apart() -> None:
    assert as_srt(a_transcript("Hello,", "world.").segments) == (
        "1\n00:00:00,000 --> 00:00:00,500\nHello,\n\n2\n00:00:01,000 --> 00:00:01,500\nworld.\n"
    )


def test_times_are_rounded_to_the_millisecond_without_a_sixtieth_second() -> None:
    assert [srt_time(s) for s in (0, 59.9996, 3599.9999, 3661.5, 360_000)] == [
        "00:00:00,000",
        "00:01:00,000",
        "01:00:00,000",
        "01:01:01,500",
        "100:00:00,000",
    ]


def test_the_text_has_a_line_for_each_segment() -> None:
    assert as_text(a_transcript("Hello,", "world.")) == "Hello,\nworld.\n"
    assert as_text(a_transcript()) == as_srt(()) == ""


def test_the_document_holds_every_segment_and_word_and_is_json() -> None:
    document = json.loads(json.dumps(as_document(a_transcript("Grüße", "b"))))
    assert document["text"] == "Grüße b"
    assert document["segments"][1]["words"] == [{"start": 1.0, "end": 1.1, "text": "x", "probability": 0.9}]
    assert (document["audio_seconds"], document["model"], document["device"]) == (10.0, "tiny", "cpu")


def test_the_result_is_bounded_and_says_when_it_was_cut() -> None:
    short, long = as_result(a_transcript("a b", "c"), ["t.txt"]), as_result(a_transcript("word " * 2_000), [])
    assert (short["text"], short["text_truncated"], short["words"], short["files"]) == ("a b c", False, 3, ["t.txt"])
    assert (len(long["text"]), long["text_truncated"], long["words"]) == (RESULT_TEXT_MAX, True, 2_000)


def test_half_a_second_of_work_for_ten_of_sound_is_a_real_time_factor_of_a_twentieth() -> None:
    assert a_transcript().real_time_factor == 0.05
