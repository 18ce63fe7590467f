package caddymodule

import (
	"encoding/json"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/upstreams"
)

// PoolConfig configures the upstreams and their health checks.
type PoolConfig struct {
	// Upstreams are the servers.
	Upstreams []UpstreamConfig `json:"upstreams,omitempty"`
	// BalancerRaw selects the server of a live request. Default: least_work.
	BalancerRaw json.RawMessage `json:"balancer,omitempty" caddy:"namespace=tidegate.balancers inline_key=name"`
	// APIKey is sent to the upstreams as a bearer token (vLLM's --api-key).
	APIKey string `json:"api_key,omitempty"`
	// BatchShare is the part of an upstream's max_num_seqs that batch lines may use,
	// above 0 and at most 1. Default 0.75.
	BatchShare float64 `json:"batch_share,omitempty"`
	// BatchPrice is the maximum part of the time for which batches are withheld from a
	// server to measure how much they slow down live requests; -1 disables the
	// measurement. Default 0.02.
	BatchPrice float64 `json:"batch_price,omitempty"`
	// BatchBudget limits that price: batches get fewer slots until the price meets it.
	BatchBudget BudgetConfig `json:"batch_budget,omitzero"`
	// HealthInterval is the time between two health checks of an upstream. Default 5s.
	HealthInterval caddy.Duration `json:"health_interval,omitempty"`
	// HealthTimeout limits the duration of a health check. Default 5s.
	HealthTimeout caddy.Duration `json:"health_timeout,omitempty"`
	// ModelsInterval is the time between two model discoveries. Default 30s.
	ModelsInterval caddy.Duration `json:"models_interval,omitempty"`
	// RetryBuffer is the maximum size of a live request that is buffered for a retry
	// on another upstream. Default 32 MiB.
	RetryBuffer int64 `json:"retry_buffer,omitempty"`
	// BodyMemory limits the memory for all buffered bodies of live requests. A body
	// must name its model in its first half of that. Default 256 MiB.
	BodyMemory int64 `json:"body_memory,omitempty"`
	// QueueSize limits how many live requests of a model wait in the gateway while
	// every server of it is at its limit, and how many requests of the service tier
	// flex wait while live requests leave no slot; -1 disables the queue: live
	// requests are then sent at once. Default 1024.
	QueueSize int `json:"queue_size,omitempty"`
	// QueueTimeout limits how long a request waits there before it is refused with
	// 429. Default 60s.
	QueueTimeout caddy.Duration `json:"queue_timeout,omitempty"`
	// MaxAnswer limits the size of the answer to a line. Default 128 MiB.
	MaxAnswer int64 `json:"max_answer,omitempty"`
	// DialTimeout limits the time for connecting. Default 5s.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`
	// HealthFailures is the number of consecutive failed health checks, while no
	// request makes progress, before an upstream is marked down. Default 3.
	HealthFailures int `json:"health_failures,omitempty"`
	// LoadTime limits the time for which a server that was never up and refuses
	// connections counts as loading its model. Default 30m.
	LoadTime caddy.Duration `json:"load_time,omitempty"`
	// IdleTimeout is the time after which an idle connection is closed. It must be less
	// than the servers' own limit, 5s for vLLM. Default 4s.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// StreamIdleTimeout aborts a stream that was silent for this long. Default: never.
	StreamIdleTimeout caddy.Duration `json:"stream_idle_timeout,omitempty"`
	// Guardrail decides about requests before they are sent. Default: none.
	Guardrail GuardrailConfig `json:"guardrail,omitzero"`

	balancer upstreams.Balancer // loaded from BalancerRaw
}

// UpstreamConfig configures one server.
type UpstreamConfig struct {
	// URL is http://host:port or https://host:port. A path is prepended to every
	// route; a trailing /v1 is removed. A Unix domain socket is written as
	// unix//run/vllm.sock.
	URL string `json:"url"`
	// APIKey is sent to this upstream instead of the pool's. Placeholders such
	// as {env.KEY} and {file./run/secrets/key} are replaced.
	APIKey string `json:"api_key,omitempty"`
	// TLS selects the trusted certificates and the client certificate, if the URL is
	// https.
	TLS TLSConfig `json:"tls,omitzero"`
	// Weight is its share of the load relative to the others. Default 1.
	Weight float64 `json:"weight,omitempty"`
	// MaxNumSeqs is the number of requests that it runs concurrently (vLLM's --max-num-seqs).
	// Further live requests wait in the gateway. Default: as the server reports or the
	// gateway measures. Batch lines never exceed 256 without it.
	MaxNumSeqs int `json:"max_num_seqs,omitempty"`
	// SchedulingPolicy is its own --scheduling-policy, "fcfs" or "priority". With
	// "priority", batch lines are sent with a priority behind live requests. Default:
	// as the server reports; newer versions of vLLM do not report it.
	SchedulingPolicy string `json:"scheduling_policy,omitempty"`
	// ScaleToZero says that an autoscaler stops the server at times. While its host
	// refuses connections, its state is "away", and that is no problem. Default: false.
	ScaleToZero bool `json:"scale_to_zero,omitempty"`
}

// TLSConfig selects the trusted certificates of an upstream and its client
// certificate. Renewed files apply from the next connection on.
type TLSConfig struct {
	// RootCAPEMFiles are files of certificate authorities, which replace the system's.
	RootCAPEMFiles []string `json:"root_ca_pem_files,omitempty"`
	// ClientCertificateFile is the PEM file of a client certificate.
	ClientCertificateFile string `json:"client_certificate_file,omitempty"`
	// ClientCertificateKeyFile is the PEM file of its key.
	ClientCertificateKeyFile string `json:"client_certificate_key_file,omitempty"`
	// ServerName is the name in the server's certificate. Default: the URL's host.
	ServerName string `json:"server_name,omitempty"`
	// InsecureSkipVerify disables certificate verification.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

func (u *UpstreamConfig) config() upstreams.UpstreamConfig {
	return upstreams.UpstreamConfig{
		URL: u.URL, APIKey: u.APIKey, Weight: u.Weight, MaxNumSeqs: u.MaxNumSeqs, SchedulingPolicy: u.SchedulingPolicy,
		ScaleToZero: u.ScaleToZero,
		TLS:         *u.TLS.config(),
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
		Balancer: p.balancer, Guardrail: p.Guardrail.config(),
		APIKey: p.APIKey, DropAuthorization: a.authenticates(), BatchShare: p.BatchShare, Hours: a.Batch.hours(),
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

// BatchConfig configures the batch engine.
type BatchConfig struct {
	// MaxInFlight limits how many lines of this gateway were sent and have no durable
	// result yet. Default: as many as fill the pool, see batch.Config.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Hours are the shares of the servers' slots that batches may use by time of day;
	// the first range that contains the time applies. Default: no limit.
	Hours []HoursConfig `json:"hours,omitempty"`
	// HoursElse is the share at all other times, 0 to 1. Default 1.
	HoursElse *float64 `json:"hours_else,omitempty"`
	// HoursZone is the time zone of Hours. Default: the machine's.
	HoursZone string `json:"hours_zone,omitempty"`
	// MaxConcurrentBatches limits how many batches run at a time. Default 10.
	MaxConcurrentBatches int `json:"max_concurrent_batches,omitempty"`
	// MaxRequests limits the lines of a batch. Default 50000.
	MaxRequests int `json:"max_requests,omitempty"`
	// MaxFileSize limits the size of an uploaded file. Default 512 MiB.
	MaxFileSize int64 `json:"max_file_size,omitempty"`
	// MaxUploadSize limits the size of a file in parts (the Uploads API). Default 8
	// GiB.
	MaxUploadSize int64 `json:"max_upload_size,omitempty"`
	// MaxPartSize limits the size of a part. Default 64 MiB.
	MaxPartSize int64 `json:"max_part_size,omitempty"`
	// MaxStoredSize limits what each tenant stores, in bytes. Default: no limit.
	MaxStoredSize int64 `json:"max_stored_size,omitempty"`
	// MaxFiles limits the files, results and parts of uploads of each tenant. Default
	// 1000000.
	MaxFiles int `json:"max_files,omitempty"`
	// MaxOpenUploads limits the number of open uploads in parts. Default 1000.
	MaxOpenUploads int `json:"max_open_uploads,omitempty"`
	// MaxTotalStoredSize limits what all tenants store together, in bytes. Default: no
	// limit.
	MaxTotalStoredSize int64 `json:"max_total_stored_size,omitempty"`
	// MaxTotalFiles limits what max_files counts, of all tenants together.
	// Default: no limit, because counting costs more the more tenants there are.
	MaxTotalFiles int `json:"max_total_files,omitempty"`
	// MaxTotalOpenUploads limits the open uploads in parts of all tenants together. Default
	// 10000.
	MaxTotalOpenUploads int `json:"max_total_open_uploads,omitempty"`
	// MaxUploadParts limits the parts of an upload. Default 10000.
	MaxUploadParts int `json:"max_upload_parts,omitempty"`
	// MaxDecompressedSize limits the decompressed size of a compressed file. Default:
	// the limit for an uncompressed file.
	MaxDecompressedSize int64 `json:"max_decompressed_size,omitempty"`
	// MaxLineSize limits the size of a line. Default 16 MiB.
	MaxLineSize int64 `json:"max_line_size,omitempty"`
	// Memory limits, in bytes, the requests that are in flight or prefetched. Default
	// 64 MiB.
	Memory int64 `json:"memory,omitempty"`
	// Retries is the maximum number of retries of a line after temporary failures. Default 8.
	Retries int `json:"retries,omitempty"`
	// StopAfter pauses a batch when this many consecutive lines failed with the same
	// error; -1 never does. Default 100.
	StopAfter int `json:"stop_after,omitempty"`
	// RetryBackoffMin and RetryBackoffMax limit the backoff before a retry. Default
	// 500ms and 1m.
	RetryBackoffMin caddy.Duration `json:"retry_backoff_min,omitempty"`
	RetryBackoffMax caddy.Duration `json:"retry_backoff_max,omitempty"`
	// LineTimeout limits one attempt at a line. Default 30m.
	LineTimeout caddy.Duration `json:"line_timeout,omitempty"`
	// Lease is the time after which a claim that is not renewed ends. Default 20s.
	Lease caddy.Duration `json:"lease,omitempty"`
	// DrainTimeout limits the time for which lines continue when the gateway stops. Default 25s.
	DrainTimeout caddy.Duration `json:"drain_timeout,omitempty"`
	// Quarantine is the time after which contents without a row in the database are
	// deleted. Default 168h.
	Quarantine caddy.Duration `json:"quarantine,omitempty"`
	// CollectInterval is the time between two removals of expired objects. Default 1m.
	CollectInterval caddy.Duration `json:"collect_interval,omitempty"`
	// UploadTTL limits the duration of an upload in parts. Default 1h.
	UploadTTL caddy.Duration `json:"upload_ttl,omitempty"`
	// InputTTL is the lifetime of input files for which the client specifies none.
	// Default 720h.
	InputTTL caddy.Duration `json:"input_ttl,omitempty"`
	// OutputTTL is the lifetime of results. Default 720h.
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
		MaxStoredBytes: b.MaxStoredSize, MaxFiles: b.MaxFiles, MaxOpenUploads: b.MaxOpenUploads, MaxUploadParts: b.MaxUploadParts,
		MaxTotalBytes: b.MaxTotalStoredSize, MaxTotalFiles: b.MaxTotalFiles, MaxTotalUploads: b.MaxTotalOpenUploads,
		MaxLineBytes: int(b.MaxLineSize), BatchFileTTL: duration(b.InputTTL), UploadTTL: duration(b.UploadTTL),
	}
}

func duration(d caddy.Duration) time.Duration { return time.Duration(d) }
