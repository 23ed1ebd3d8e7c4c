"""What can go wrong with a transcription, sorted by what the caller must change.

TranscriptionError
├── BadParams          the params: a name or a value
├── MissingExtra       the installation: no faster-whisper on this machine
├── Unreachable        the network, the address or the permissions behind it
├── AudioError
│   ├── NoSuchAudio    the path or address
│   ├── EmptyAudio     the file: no bytes, or no sound in it
│   ├── BrokenAudio    the file: damaged, or no audio format at all
│   ├── NoAudioTrack   the file: a film or picture without sound
│   ├── SilentAudio    the recording: nobody can be heard
│   └── OverlongAudio  max_hours or max_megabytes, or the file
├── ModelError
│   ├── NoSuchModel    the model's name, folder, package or bucket
│   └── BrokenModel    the model's files
└── DeviceError        device or compute_type, or the machine
"""


class TranscriptionError(Exception):
    """The recording was not transcribed; the message says what to change."""


class BadParams(TranscriptionError):
    """A param is unknown, or its value cannot be used."""


class MissingExtra(TranscriptionError):
    """faster-whisper is not installed here."""


class Unreachable(TranscriptionError):
    """A download did not come through."""


class AudioError(TranscriptionError):
    """The recording itself is the trouble."""


class NoSuchAudio(AudioError):
    """There is no file at that path or address."""


class EmptyAudio(AudioError):
    """The file holds no bytes, or its audio track holds no sound."""


class BrokenAudio(AudioError):
    """The file cannot be decoded."""


class NoAudioTrack(AudioError):
    """The file can be read, but has no audio track."""


class SilentAudio(AudioError):
    """There is sound data, and nothing to hear in it."""


class OverlongAudio(AudioError):
    """The recording is longer or larger than the params allow."""


class ModelError(TranscriptionError):
    """The Whisper model is the trouble."""


class NoSuchModel(ModelError):
    """There is no model of that name, or it is not where the params say."""


class BrokenModel(ModelError):
    """The model's files are there and cannot be used."""


class DeviceError(TranscriptionError):
    """The device cannot do what the params ask of it."""
