import io
import sys

from attribution.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_it_passes_everything_through_and_is_silent_off_a_terminal(capsys):
    assert list(progress(iter("abc"), 3, "letters")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_short_work_shows_no_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(range(3), 3, "numbers")) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_long_work_shows_how_far_it_is_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("attribution.progress.DELAY", 0)
    assert list(progress(range(3), 3, "journeys")) == [0, 1, 2]
    assert "journeys" in terminal.getvalue()
