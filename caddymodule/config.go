package caddymodule

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/upstreams"
)

// PoolConfig are the upstreams, and how they are watched and used.
type PoolConfig struct {
	// Upstreams are the servers.
	Upstreams []UpstreamConfig `json:"upstreams,omitempty"`
	// APIKey is sent to the upstreams as bearer token (vLLM's --api-key).
	APIKey string `json:"api_key,omitempty"`
	// BatchShare is the part of an upstream's max_num_seqs that lines of
	// batches may take, above 0 and at most 1. Default 0.75.
	BatchShare float64 `json:"batch_share,omitempty"`
	// BatchPrice is the part of the time for which batches are withheld from a
	// server at most, so that it is known what they cost live requests; -1 does not
	// measure it. Default 0.02.
	BatchPrice float64 `json:"batch_price,omitempty"`
	// BatchBudget bounds that price: batches get fewer slots until it is kept.
	BatchBudget BudgetConfig `json:"batch_budget,omitzero"`
	// HealthInterval is how often an upstream is asked for its health. Default 5s.
	HealthInterval caddy.Duration `json:"health_interval,omitempty"`
	// HealthTimeout is how long the answer may take. Default 5s.
	HealthTimeout caddy.Duration `json:"health_timeout,omitempty"`
	// ModelsInterval is how often an upstream is asked for its models. Default 30s.
	ModelsInterval caddy.Duration `json:"models_interval,omitempty"`
	// RetryBuffer is how many bytes of a live request are kept for a retry on
	// another upstream. Default 32 MiB.
	RetryBuffer int64 `json:"retry_buffer,omitempty"`
	// BodyMemory is how many bytes all bodies of live requests together may take
	// in memory. A body must name its model in its first half of that. Default
	// 256 MiB.
	BodyMemory int64 `json:"body_memory,omitempty"`
	// QueueSize is how many live requests of a model wait in the gateway while every
	// server of it is at its limit for them, and as many requests of the service tier
	// flex while live requests leave no room; -1: none waits, and live requests are
	// sent at once. Default 1024.
	QueueSize int `json:"queue_size,omitempty"`
	// QueueTimeout is how long a request waits there before it is refused with 429.
	// Default 60s.
	QueueTimeout caddy.Duration `json:"queue_timeout,omitempty"`
	// MaxAnswer is how many bytes the answer to a line may have. Default 128 MiB.
	MaxAnswer int64 `json:"max_answer,omitempty"`
	// DialTimeout is how long connecting may take. Default 5s.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`
	// HealthFailures is how many probes in a row fail, while no request gets
	// on, before an upstream is down. Default 3.
	HealthFailures int `json:"health_failures,omitempty"`
	// LoadTime is how long a server that was never up and refuses connections
	// counts as loading its model. Default 30m.
	LoadTime caddy.Duration `json:"load_time,omitempty"`
	// IdleTimeout is how long a connection is kept for another request; less
	// than the servers' own limit, 5s for vLLM. Default 4s.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// StreamIdleTimeout ends a stream that was silent for so long. Default: never.
	StreamIdleTimeout caddy.Duration `json:"stream_idle_timeout,omitempty"`
}

// UpstreamConfig is one server.
type UpstreamConfig struct {
	// URL is http://host:port or https://host:port. A path is put before every
	// route; /v1 at its end is dropped. Or it is a Unix domain socket:
	// unix//run/vllm.sock.
	URL string `json:"url"`
	// APIKey is sent to this upstream instead of the pool's. Placeholders such
	// as {env.KEY} and {file./run/secrets/key} are replaced.
	APIKey string `json:"api_key,omitempty"`
	// TLS says which certificates are trusted and shown, if the URL is https.
	TLS TLSConfig `json:"tls,omitzero"`
	// Weight is its share of the load beside the others. Default 1.
	Weight float64 `json:"weight,omitempty"`
	// MaxNumSeqs is how many requests it runs at once (vLLM's
	// --max-num-seqs). Live requests beyond it wait in the gateway. Default: as the
	// server reports or the gateway finds. Lines of batches never exceed 256 without
	// it.
	MaxNumSeqs int `json:"max_num_seqs,omitempty"`
	// SchedulingPolicy is its own --scheduling-policy, "fcfs" or "priority". With
	// "priority" lines of batches are sent with a priority behind live requests.
	// Default: as the server tells, which newer versions of vLLM do not.
	SchedulingPolicy string `json:"scheduling_policy,omitempty"`
}

// TLSConfig says which certificates of an upstream are trusted, and which one it
// is shown. Files that are renewed count from the next connection on.
type TLSConfig struct {
	// RootCAPEMFiles are files of authorities that are trusted instead of the
	// system's.
	RootCAPEMFiles []string `json:"root_ca_pem_files,omitempty"`
	// ClientCertificateFile is the PEM file of a client certificate.
	ClientCertificateFile string `json:"client_certificate_file,omitempty"`
	// ClientCertificateKeyFile is the PEM file of its key.
	ClientCertificateKeyFile string `json:"client_certificate_key_file,omitempty"`
	// ServerName is the name in the server's certificate. Default: the URL's host.
	ServerName string `json:"server_name,omitempty"`
	// InsecureSkipVerify has every certificate trusted.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

func (u *UpstreamConfig) config() upstreams.UpstreamConfig {
	return upstreams.UpstreamConfig{
		URL: u.URL, APIKey: u.APIKey, Weight: u.Weight, MaxNumSeqs: u.MaxNumSeqs, SchedulingPolicy: u.SchedulingPolicy,
		TLS: *u.TLS.config(),
	}
}

func (t *TLSConfig) config() *upstreams.TLSConfig {
	return &upstreams.TLSConfig{
		CAFiles: t.RootCAPEMFiles, CertFile: t.ClientCertificateFile, KeyFile: t.ClientCertificateKeyFile,
		ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify,
	}
}

func (a *App) poolConfig() upstreams.Config {
	p := a.Pool
	out := upstreams.Config{
		APIKey: p.APIKey, DropAuthorization: len(a.APIKeys) > 0, BatchShare: p.BatchShare, Hours: a.Batch.hours(),
		BatchPrice: p.BatchPrice, BatchBudget: p.BatchBudget.config(),
		HealthInterval: duration(p.HealthInterval), HealthTimeout: duration(p.HealthTimeout), ModelsInterval: duration(p.ModelsInterval),
		RetryBuffer: p.RetryBuffer, BodyMemory: p.BodyMemory, QueueSize: p.QueueSize, QueueTimeout: duration(p.QueueTimeout), MaxAnswer: p.MaxAnswer, DialTimeout: duration(p.DialTimeout),
		HealthFailures: p.HealthFailures, LoadTime: duration(p.LoadTime), IdleConnTimeout: duration(p.IdleTimeout), StreamIdleTimeout: duration(p.StreamIdleTimeout),
	}
	for i := range p.Upstreams {
		out.Upstreams = append(out.Upstreams, p.Upstreams[i].config())
	}
	return out
}

// BatchConfig are the settings of the batch engine.
type BatchConfig struct {
	// MaxInFlight is how many lines at most were sent by this gateway and have
	// no durable result yet. Without it, it is what fills the pool: see
	// batch.Config.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Hours are the shares of the servers' slots that batches may use by time of
	// day; the first range that a time is in counts. Default: all, always.
	Hours []HoursConfig `json:"hours,omitempty"`
	// HoursElse is the share at all other times, 0 to 1. Default 1.
	HoursElse *float64 `json:"hours_else,omitempty"`
	// HoursZone is the time zone of Hours. Default: the machine's.
	HoursZone string `json:"hours_zone,omitempty"`
	// MaxConcurrentBatches is how many batches are served at a time. Default 10.
	MaxConcurrentBatches int `json:"max_concurrent_batches,omitempty"`
	// MaxRequests is how many lines a batch may have. Default 50000.
	MaxRequests int `json:"max_requests,omitempty"`
	// MaxFileSize is how many bytes an uploaded file may have. Default 512 MiB.
	MaxFileSize int64 `json:"max_file_size,omitempty"`
	// MaxUploadSize is how many bytes a file in parts (the Uploads API) may
	// have. Default 8 GiB.
	MaxUploadSize int64 `json:"max_upload_size,omitempty"`
	// MaxPartSize is how many bytes a part may have. Default 64 MiB.
	MaxPartSize int64 `json:"max_part_size,omitempty"`
	// MaxOpenUploads is how many uploads in parts may be open. Default 1000.
	MaxOpenUploads int `json:"max_open_uploads,omitempty"`
	// MaxUploadParts is how many parts an upload may have. Default 10000.
	MaxUploadParts int `json:"max_upload_parts,omitempty"`
	// MaxDecompressedSize is how many bytes a compressed file may become.
	// Default: as many as it may have when it comes uncompressed.
	MaxDecompressedSize int64 `json:"max_decompressed_size,omitempty"`
	// MaxLineSize is how many bytes a line may have. Default 16 MiB.
	MaxLineSize int64 `json:"max_line_size,omitempty"`
	// Memory bounds, in bytes, the requests that are under way or read ahead.
	// Default 64 MiB.
	Memory int64 `json:"memory,omitempty"`
	// Retries is how often a line is sent again after a failure that may pass. Default 8.
	Retries int `json:"retries,omitempty"`
	// StopAfter pauses a batch when so many of its lines failed in a row with the
	// same error; -1 never does. Default 100.
	StopAfter int `json:"stop_after,omitempty"`
	// RetryBackoffMin and RetryBackoffMax bound the pause before a retry.
	// Default 500ms and 1m.
	RetryBackoffMin caddy.Duration `json:"retry_backoff_min,omitempty"`
	RetryBackoffMax caddy.Duration `json:"retry_backoff_max,omitempty"`
	// LineTimeout is how long one attempt at a line may take. Default 30m.
	LineTimeout caddy.Duration `json:"line_timeout,omitempty"`
	// Lease is how long a claim holds without renewal. Default 20s.
	Lease caddy.Duration `json:"lease,omitempty"`
	// DrainTimeout is how long lines may go on when the gateway stops. Default 25s.
	DrainTimeout caddy.Duration `json:"drain_timeout,omitempty"`
	// Quarantine is how long contents that no row of the database names are kept.
	// Default 168h.
	Quarantine caddy.Duration `json:"quarantine,omitempty"`
	// CollectInterval is how often what expired is removed. Default 1m.
	CollectInterval caddy.Duration `json:"collect_interval,omitempty"`
	// UploadTTL is how long an upload in parts may take. Default 1h.
	UploadTTL caddy.Duration `json:"upload_ttl,omitempty"`
	// InputTTL is how long files of requests are kept unless the client says
	// otherwise. Default 720h.
	InputTTL caddy.Duration `json:"input_ttl,omitempty"`
	// OutputTTL is how long results are kept. Default 720h.
	OutputTTL caddy.Duration `json:"output_ttl,omitempty"`
}

func (b BatchConfig) engine() batch.Config {
	return batch.Config{
		MaxInFlight: b.MaxInFlight, MaxConcurrentBatches: b.MaxConcurrentBatches, MaxRequests: b.MaxRequests,
		MaxLineBytes: int(b.MaxLineSize), MemoryBytes: b.Memory, Retries: b.Retries, StopAfter: b.StopAfter,
		RetryBackoffMin: duration(b.RetryBackoffMin), RetryBackoffMax: duration(b.RetryBackoffMax),
		LineTimeout: duration(b.LineTimeout), Lease: duration(b.Lease), DrainTimeout: duration(b.DrainTimeout),
		CollectInterval: duration(b.CollectInterval), Quarantine: duration(b.Quarantine), OutputTTL: duration(b.OutputTTL),
	}
}

func (b BatchConfig) limits() upload.Limits {
	return upload.Limits{
		MaxFileBytes: b.MaxFileSize, MaxUploadBytes: b.MaxUploadSize, MaxPartBytes: b.MaxPartSize, MaxDecompressedBytes: b.MaxDecompressedSize,
		MaxOpenUploads: b.MaxOpenUploads, MaxUploadParts: b.MaxUploadParts,
		MaxLineBytes: int(b.MaxLineSize), BatchFileTTL: duration(b.InputTTL), UploadTTL: duration(b.UploadTTL),
	}
}

func duration(d caddy.Duration) time.Duration { return time.Duration(d) }
