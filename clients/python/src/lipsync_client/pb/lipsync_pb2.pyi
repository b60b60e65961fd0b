from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_FORMAT_UNSPECIFIED: _ClassVar[ImageFormat]
    IMAGE_FORMAT_PNG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_JPEG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_RGB: _ClassVar[ImageFormat]
    IMAGE_FORMAT_I420: _ClassVar[ImageFormat]

class SampleFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLE_FORMAT_UNSPECIFIED: _ClassVar[SampleFormat]
    SAMPLE_FORMAT_S16LE: _ClassVar[SampleFormat]
    SAMPLE_FORMAT_F32LE: _ClassVar[SampleFormat]
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_RGB: ImageFormat
IMAGE_FORMAT_I420: ImageFormat
SAMPLE_FORMAT_UNSPECIFIED: SampleFormat
SAMPLE_FORMAT_S16LE: SampleFormat
SAMPLE_FORMAT_F32LE: SampleFormat

class CompositeBatchRequest(_message.Message):
    __slots__ = ("model_id", "visual_frames", "audio_features", "batch_size", "start_frame_idx", "output_format", "jpeg_quality")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    VISUAL_FRAMES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FEATURES_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    START_FRAME_IDX_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    visual_frames: _containers.RepeatedScalarFieldContainer[float]
    audio_features: _containers.RepeatedScalarFieldContainer[float]
    batch_size: int
    start_frame_idx: int
    output_format: ImageFormat
    jpeg_quality: int
    def __init__(self, model_id: _Optional[str] = ..., visual_frames: _Optional[_Iterable[float]] = ..., audio_features: _Optional[_Iterable[float]] = ..., batch_size: _Optional[int] = ..., start_frame_idx: _Optional[int] = ..., output_format: _Optional[_Union[ImageFormat, str]] = ..., jpeg_quality: _Optional[int] = ...) -> None: ...

class CompositeBatchResponse(_message.Message):
    __slots__ = ("composited_frames", "inference_time_ms", "composite_time_ms", "total_time_ms", "model_loaded", "model_load_time_ms", "success", "error", "queue_time_ms", "background_indices", "visual_time_ms", "encode_time_ms")
    COMPOSITED_FRAMES_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    COMPOSITE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_LOADED_FIELD_NUMBER: _ClassVar[int]
    MODEL_LOAD_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_INDICES_FIELD_NUMBER: _ClassVar[int]
    VISUAL_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    composited_frames: _containers.RepeatedScalarFieldContainer[bytes]
    inference_time_ms: float
    composite_time_ms: float
    total_time_ms: float
    model_loaded: bool
    model_load_time_ms: float
    success: bool
    error: str
    queue_time_ms: float
    background_indices: _containers.RepeatedScalarFieldContainer[int]
    visual_time_ms: float
    encode_time_ms: float
    def __init__(self, composited_frames: _Optional[_Iterable[bytes]] = ..., inference_time_ms: _Optional[float] = ..., composite_time_ms: _Optional[float] = ..., total_time_ms: _Optional[float] = ..., model_loaded: bool = ..., model_load_time_ms: _Optional[float] = ..., success: bool = ..., error: _Optional[str] = ..., queue_time_ms: _Optional[float] = ..., background_indices: _Optional[_Iterable[int]] = ..., visual_time_ms: _Optional[float] = ..., encode_time_ms: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("model_id", "force_reload")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_RELOAD_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    force_reload: bool
    def __init__(self, model_id: _Optional[str] = ..., force_reload: bool = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("success", "error", "load_time_ms", "stats")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    load_time_ms: float
    stats: ModelStats
    def __init__(self, success: bool = ..., error: _Optional[str] = ..., load_time_ms: _Optional[float] = ..., stats: _Optional[_Union[ModelStats, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("success", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    def __init__(self, success: bool = ..., error: _Optional[str] = ...) -> None: ...

class GetModelStatsRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class GetModelStatsResponse(_message.Message):
    __slots__ = ("models", "max_models", "loaded_models", "total_memory_bytes", "max_memory_bytes")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MAX_MODELS_FIELD_NUMBER: _ClassVar[int]
    LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    max_models: int
    loaded_models: int
    total_memory_bytes: int
    max_memory_bytes: int
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ..., max_models: _Optional[int] = ..., loaded_models: _Optional[int] = ..., total_memory_bytes: _Optional[int] = ..., max_memory_bytes: _Optional[int] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthResponse(_message.Message):
    __slots__ = ("healthy", "cuda_available", "loaded_models", "max_models", "version")
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    CUDA_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    MAX_MODELS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    healthy: bool
    cuda_available: bool
    loaded_models: int
    max_models: int
    version: str
    def __init__(self, healthy: bool = ..., cuda_available: bool = ..., loaded_models: _Optional[int] = ..., max_models: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("model_id", "loaded", "model_path", "background_dir", "crop_rects_path", "stats", "status", "leases", "generation", "stale", "last_error", "fps", "hears", "lifetime_stats", "width", "height", "num_frames", "visual_cache", "plan")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    MODEL_PATH_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_DIR_FIELD_NUMBER: _ClassVar[int]
    CROP_RECTS_PATH_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    HEARS_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_STATS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    NUM_FRAMES_FIELD_NUMBER: _ClassVar[int]
    VISUAL_CACHE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    loaded: bool
    model_path: str
    background_dir: str
    crop_rects_path: str
    stats: ModelStats
    status: str
    leases: int
    generation: int
    stale: bool
    last_error: str
    fps: int
    hears: bool
    lifetime_stats: ModelStats
    width: int
    height: int
    num_frames: int
    visual_cache: VisualCache
    plan: str
    def __init__(self, model_id: _Optional[str] = ..., loaded: bool = ..., model_path: _Optional[str] = ..., background_dir: _Optional[str] = ..., crop_rects_path: _Optional[str] = ..., stats: _Optional[_Union[ModelStats, _Mapping]] = ..., status: _Optional[str] = ..., leases: _Optional[int] = ..., generation: _Optional[int] = ..., stale: bool = ..., last_error: _Optional[str] = ..., fps: _Optional[int] = ..., hears: bool = ..., lifetime_stats: _Optional[_Union[ModelStats, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., num_frames: _Optional[int] = ..., visual_cache: _Optional[_Union[VisualCache, _Mapping]] = ..., plan: _Optional[str] = ...) -> None: ...

class VisualCache(_message.Message):
    __slots__ = ("hits", "misses", "memory_bytes", "backgrounds")
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    BACKGROUNDS_FIELD_NUMBER: _ClassVar[int]
    hits: int
    misses: int
    memory_bytes: int
    backgrounds: int
    def __init__(self, hits: _Optional[int] = ..., misses: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., backgrounds: _Optional[int] = ...) -> None: ...

class ModelStats(_message.Message):
    __slots__ = ("usage_count", "last_used_unix_ms", "total_inference_time_ms", "memory_bytes", "loaded_unix_ms", "load_time_ms", "load_count")
    USAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOADED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LOAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    usage_count: int
    last_used_unix_ms: int
    total_inference_time_ms: float
    memory_bytes: int
    loaded_unix_ms: int
    load_time_ms: float
    load_count: int
    def __init__(self, usage_count: _Optional[int] = ..., last_used_unix_ms: _Optional[int] = ..., total_inference_time_ms: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., loaded_unix_ms: _Optional[int] = ..., load_time_ms: _Optional[float] = ..., load_count: _Optional[int] = ...) -> None: ...

class TalkRequest(_message.Message):
    __slots__ = ("start", "audio", "end_of_speech", "interrupt")
    START_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    END_OF_SPEECH_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    start: TalkStart
    audio: bytes
    end_of_speech: EndOfSpeech
    interrupt: Interrupt
    def __init__(self, start: _Optional[_Union[TalkStart, _Mapping]] = ..., audio: _Optional[bytes] = ..., end_of_speech: _Optional[_Union[EndOfSpeech, _Mapping]] = ..., interrupt: _Optional[_Union[Interrupt, _Mapping]] = ...) -> None: ...

class TalkStart(_message.Message):
    __slots__ = ("model_id", "sample_format", "sample_rate_hz", "channels", "output_format", "jpeg_quality", "start_frame_idx", "realtime", "lookahead")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    START_FRAME_IDX_FIELD_NUMBER: _ClassVar[int]
    REALTIME_FIELD_NUMBER: _ClassVar[int]
    LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    sample_format: SampleFormat
    sample_rate_hz: int
    channels: int
    output_format: ImageFormat
    jpeg_quality: int
    start_frame_idx: int
    realtime: bool
    lookahead: int
    def __init__(self, model_id: _Optional[str] = ..., sample_format: _Optional[_Union[SampleFormat, str]] = ..., sample_rate_hz: _Optional[int] = ..., channels: _Optional[int] = ..., output_format: _Optional[_Union[ImageFormat, str]] = ..., jpeg_quality: _Optional[int] = ..., start_frame_idx: _Optional[int] = ..., realtime: bool = ..., lookahead: _Optional[int] = ...) -> None: ...

class EndOfSpeech(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Interrupt(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TalkResponse(_message.Message):
    __slots__ = ("started", "frame", "utterance_end", "interrupted", "summary")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_END_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    started: TalkStarted
    frame: TalkFrame
    utterance_end: UtteranceEnd
    interrupted: Interrupted
    summary: TalkSummary
    def __init__(self, started: _Optional[_Union[TalkStarted, _Mapping]] = ..., frame: _Optional[_Union[TalkFrame, _Mapping]] = ..., utterance_end: _Optional[_Union[UtteranceEnd, _Mapping]] = ..., interrupted: _Optional[_Union[Interrupted, _Mapping]] = ..., summary: _Optional[_Union[TalkSummary, _Mapping]] = ...) -> None: ...

class TalkStarted(_message.Message):
    __slots__ = ("fps", "width", "height", "model_loaded", "model_load_time_ms")
    FPS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODEL_LOADED_FIELD_NUMBER: _ClassVar[int]
    MODEL_LOAD_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    fps: int
    width: int
    height: int
    model_loaded: bool
    model_load_time_ms: float
    def __init__(self, fps: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., model_loaded: bool = ..., model_load_time_ms: _Optional[float] = ...) -> None: ...

class TalkFrame(_message.Message):
    __slots__ = ("index", "presentation_time_us", "frame_idx", "background_index", "kind", "image", "utterance", "utterance_frame")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[TalkFrame.Kind]
        KIND_SPEECH: _ClassVar[TalkFrame.Kind]
        KIND_IDLE: _ClassVar[TalkFrame.Kind]
    KIND_UNSPECIFIED: TalkFrame.Kind
    KIND_SPEECH: TalkFrame.Kind
    KIND_IDLE: TalkFrame.Kind
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PRESENTATION_TIME_US_FIELD_NUMBER: _ClassVar[int]
    FRAME_IDX_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_INDEX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_FRAME_FIELD_NUMBER: _ClassVar[int]
    index: int
    presentation_time_us: int
    frame_idx: int
    background_index: int
    kind: TalkFrame.Kind
    image: bytes
    utterance: int
    utterance_frame: int
    def __init__(self, index: _Optional[int] = ..., presentation_time_us: _Optional[int] = ..., frame_idx: _Optional[int] = ..., background_index: _Optional[int] = ..., kind: _Optional[_Union[TalkFrame.Kind, str]] = ..., image: _Optional[bytes] = ..., utterance: _Optional[int] = ..., utterance_frame: _Optional[int] = ...) -> None: ...

class UtteranceEnd(_message.Message):
    __slots__ = ("utterance", "frames", "left_out")
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    frames: int
    left_out: int
    def __init__(self, utterance: _Optional[int] = ..., frames: _Optional[int] = ..., left_out: _Optional[int] = ...) -> None: ...

class Interrupted(_message.Message):
    __slots__ = ("utterance", "frames", "shown_ms")
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    SHOWN_MS_FIELD_NUMBER: _ClassVar[int]
    utterance: int
    frames: int
    shown_ms: float
    def __init__(self, utterance: _Optional[int] = ..., frames: _Optional[int] = ..., shown_ms: _Optional[float] = ...) -> None: ...

class TalkSummary(_message.Message):
    __slots__ = ("speech_frames", "idle_frames", "utterances", "visual_time_ms", "queue_time_ms", "inference_time_ms", "composite_time_ms", "encode_time_ms", "first_frame_ms", "late_frames", "total_time_ms", "skipped_frames")
    SPEECH_FRAMES_FIELD_NUMBER: _ClassVar[int]
    IDLE_FRAMES_FIELD_NUMBER: _ClassVar[int]
    UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    VISUAL_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    COMPOSITE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_MS_FIELD_NUMBER: _ClassVar[int]
    LATE_FRAMES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FRAMES_FIELD_NUMBER: _ClassVar[int]
    speech_frames: int
    idle_frames: int
    utterances: int
    visual_time_ms: float
    queue_time_ms: float
    inference_time_ms: float
    composite_time_ms: float
    encode_time_ms: float
    first_frame_ms: float
    late_frames: int
    total_time_ms: float
    skipped_frames: int
    def __init__(self, speech_frames: _Optional[int] = ..., idle_frames: _Optional[int] = ..., utterances: _Optional[int] = ..., visual_time_ms: _Optional[float] = ..., queue_time_ms: _Optional[float] = ..., inference_time_ms: _Optional[float] = ..., composite_time_ms: _Optional[float] = ..., encode_time_ms: _Optional[float] = ..., first_frame_ms: _Optional[float] = ..., late_frames: _Optional[int] = ..., total_time_ms: _Optional[float] = ..., skipped_frames: _Optional[int] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ("since_unix_ms",)
    SINCE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    since_unix_ms: int
    def __init__(self, since_unix_ms: _Optional[int] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("usage", "refusals", "kept")
    USAGE_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    usage: _containers.RepeatedCompositeFieldContainer[TenantUsage]
    refusals: _containers.RepeatedCompositeFieldContainer[TenantRefusals]
    kept: bool
    def __init__(self, usage: _Optional[_Iterable[_Union[TenantUsage, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[TenantRefusals, _Mapping]]] = ..., kept: bool = ...) -> None: ...

class TenantUsage(_message.Message):
    __slots__ = ("tenant", "model_id", "frames", "inference_ms", "bytes", "load_ms")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_MS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LOAD_MS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model_id: str
    frames: int
    inference_ms: float
    bytes: int
    load_ms: float
    def __init__(self, tenant: _Optional[str] = ..., model_id: _Optional[str] = ..., frames: _Optional[int] = ..., inference_ms: _Optional[float] = ..., bytes: _Optional[int] = ..., load_ms: _Optional[float] = ...) -> None: ...

class TenantRefusals(_message.Message):
    __slots__ = ("tenant", "reason", "calls")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    reason: str
    calls: int
    def __init__(self, tenant: _Optional[str] = ..., reason: _Optional[str] = ..., calls: _Optional[int] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "engine", "engine_version", "execution_providers", "started_unix_ms", "draining", "max_models", "max_memory_bytes", "max_concurrent_requests", "max_streams", "eviction_policy", "requests_in_progress", "streams_open", "requests", "frames", "loads", "load_failures", "evictions", "rejections")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    MAX_MODELS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAMS_FIELD_NUMBER: _ClassVar[int]
    EVICTION_POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_OPEN_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FAILURES_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    version: str
    engine: str
    engine_version: str
    execution_providers: _containers.RepeatedScalarFieldContainer[str]
    started_unix_ms: int
    draining: bool
    max_models: int
    max_memory_bytes: int
    max_concurrent_requests: int
    max_streams: int
    eviction_policy: str
    requests_in_progress: int
    streams_open: int
    requests: int
    frames: int
    loads: int
    load_failures: int
    evictions: int
    rejections: int
    def __init__(self, version: _Optional[str] = ..., engine: _Optional[str] = ..., engine_version: _Optional[str] = ..., execution_providers: _Optional[_Iterable[str]] = ..., started_unix_ms: _Optional[int] = ..., draining: bool = ..., max_models: _Optional[int] = ..., max_memory_bytes: _Optional[int] = ..., max_concurrent_requests: _Optional[int] = ..., max_streams: _Optional[int] = ..., eviction_policy: _Optional[str] = ..., requests_in_progress: _Optional[int] = ..., streams_open: _Optional[int] = ..., requests: _Optional[int] = ..., frames: _Optional[int] = ..., loads: _Optional[int] = ..., load_failures: _Optional[int] = ..., evictions: _Optional[int] = ..., rejections: _Optional[int] = ...) -> None: ...
