package upstreams

import (
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts the pool's events for Prometheus, for the lifetime of the pool, and
// collects them together with the state of the upstreams.
type metrics struct {
	pool    *Pool
	retries atomic.Int64
	routes  []routeMetrics // by route.index

	// A series begins with the first request of an endpoint.
	durations, ttfts *prometheus.HistogramVec
	models           modelMetrics
}

// routeMetrics counts the requests of one route.
type routeMetrics struct {
	statuses [statusClasses]atomic.Int64
}

// statusClasses counts 1xx to 5xx, and clients that disconnected.
const statusClasses = 6

// liveBuckets range from a small embedding to the longest answer, in seconds.
var liveBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640}

func newMetrics(p *Pool) *metrics {
	return &metrics{
		pool:   p,
		routes: make([]routeMetrics, len(routeList)),
		models: newModelMetrics(),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidegate_live_request_duration_seconds", Help: "Duration of live requests, from their arrival to the end of the answer, without those of the service tier flex.", Buckets: liveBuckets,
		}, []string{"endpoint"}),
		ttfts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidegate_live_time_to_first_token_seconds", Help: "Time from the arrival of a live request to the first event of its stream, without those of the service tier flex.", Buckets: liveBuckets,
		}, []string{"endpoint"}),
	}
}

// observe counts a request that has ended.
func (m *metrics) observe(rt *route, done *LiveRequest) {
	at := &m.routes[rt.index]
	class := done.Status/100 - 1
	if done.Status == statusClientGone || class < 0 || class >= statusClasses-1 {
		class = statusClasses - 1
	}
	at.statuses[class].Add(1)
	m.models.observe(done)
	if done.Class != Live {
		return // flex requests would distort the latency of live requests
	}
	m.durations.WithLabelValues(rt.path).Observe(done.Duration.Seconds())
	if done.TTFT > 0 {
		m.ttfts.WithLabelValues(rt.path).Observe(done.TTFT.Seconds())
	}
}

// Collector returns the collector of the pool's metrics, named tidegate_*. It is
// always the same and may be registered in several registries.
func (p *Pool) Collector() prometheus.Collector { return p.metrics }

var (
	descUp       = prometheus.NewDesc("tidegate_upstream_up", "1 if the upstream takes new requests, otherwise 0.", []string{"upstream"}, nil)
	descState    = prometheus.NewDesc("tidegate_upstream_state", "1 for the upstream's state, 0 for the others.", []string{"upstream", "state"}, nil)
	descInFlight = prometheus.NewDesc("tidegate_upstream_requests_in_flight", "Requests of this gateway in flight on the upstream.", []string{"upstream", "class"}, nil)
	descLimit    = prometheus.NewDesc("tidegate_upstream_batch_limit", "Maximum number of batch lines in flight on the upstream.", []string{"upstream"}, nil)
	descFound    = prometheus.NewDesc("tidegate_upstream_limit", "Maximum number of concurrent requests on the upstream that the gateway has found so far.", []string{"upstream"}, nil)
	descRunning  = prometheus.NewDesc("tidegate_upstream_requests_running", "Running requests that the upstream reports.", []string{"upstream"}, nil)
	descWaiting  = prometheus.NewDesc("tidegate_upstream_requests_waiting", "Waiting requests that the upstream reports.", []string{"upstream"}, nil)
	descKVCache  = prometheus.NewDesc("tidegate_upstream_kv_cache_usage_ratio", "Part of the upstream's KV cache in use, 0 to 1.", []string{"upstream"}, nil)
	descPreempts = prometheus.NewDesc("tidegate_upstream_preemptions_total", "Preemptions that the upstream reports since its start: requests that it interrupted and computed again.", []string{"upstream"}, nil)
	descRequests = prometheus.NewDesc("tidegate_upstream_requests_total", "Attempts at the upstream.", []string{"upstream", "class"}, nil)
	descFailures = prometheus.NewDesc("tidegate_upstream_failures_total", "Attempts at the upstream without an answer, with an incomplete answer, or with status 429 or 5xx.", []string{"upstream", "class"}, nil)
	descWithdraw = prometheus.NewDesc("tidegate_upstream_lines_withdrawn_total", "Batch lines that were cancelled because they waited in the upstream; they run later.", []string{"upstream"}, nil)
	descRetries  = prometheus.NewDesc("tidegate_live_retries_total", "Retries of live requests on another upstream.", nil, nil)
	descServers  = prometheus.NewDesc("tidegate_model_servers", "Upstreams that have the model.", []string{"model"}, nil)
	descAvail    = prometheus.NewDesc("tidegate_model_servers_available", "Upstreams that take requests for the model and are not suspect.", []string{"model"}, nil)
	descProblem  = prometheus.NewDesc("tidegate_model_problem", "1 for a present problem of the model, 0 for the others.", []string{"model", "problem"}, nil)
	descAsked    = prometheus.NewDesc("tidegate_model_live_requests_total", "Finished live requests for the model, without those whose client disconnected; \"\" stands for models that no upstream has listed.", []string{"model"}, nil)
	descRefused  = prometheus.NewDesc("tidegate_model_live_failures_total", "Requests of tidegate_model_live_requests_total that were answered with 5xx, cut off by their upstream, or refused with 404 because the upstream of the model was away.", []string{"model"}, nil)
	descLive     = prometheus.NewDesc("tidegate_live_requests_total", "Finished live requests by endpoint and class of the status, such as 2xx; 499 for clients that disconnected before it.", []string{"endpoint", "code"}, nil)
)

var (
	descBodyMemory = prometheus.NewDesc("tidegate_live_body_memory_bytes", "Memory in use for bodies of live requests.", nil, nil)
	descBodyLimit  = prometheus.NewDesc("tidegate_live_body_memory_limit_bytes", "Maximum memory for bodies of live requests, body_memory.", nil, nil)
	descBodyShort  = prometheus.NewDesc("tidegate_live_body_memory_short_total", "Bodies of live requests that did not fit into body_memory: streamed (sent without being kept for a retry), waited, refused.", []string{"outcome"}, nil)
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descUp, descState, descInFlight, descLimit, descFound, descRunning, descWaiting, descKVCache, descPreempts, descRequests, descFailures, descWithdraw, descRetries, descLive,
		descServers, descAvail, descProblem, descAsked, descRefused,
		descBodyMemory, descBodyLimit, descBodyShort,
	} {
		ch <- d
	}
	describeQueues(ch)
	for _, d := range slices.Concat(priceDescs, prefillDescs, prefixDescs, guardrailDescs) {
		ch <- d
	}
	m.durations.Describe(ch)
	m.ttfts.Describe(ch)
	m.models.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	bodies := &m.pool.bodies
	gauge(descBodyMemory, float64(bodies.inUse()))
	gauge(descBodyLimit, float64(bodies.limit.Load()))
	counter(descBodyShort, bodies.streamed.Load(), "streamed")
	counter(descBodyShort, bodies.waited.Load(), "waited")
	counter(descBodyShort, bodies.refused.Load(), "refused")
	collectGuardrail(&m.pool.decisions.counts, counter)
	for _, u := range m.pool.now.Load().upstreams {
		for _, class := range []Class{Live, Batch} {
			counter(descRequests, u.requests[class].Load(), u.url, class.String())
			counter(descFailures, u.failures[class].Load(), u.url, class.String())
		}
		counter(descWithdraw, u.withdrawn.Load(), u.url)
	}
	for _, u := range m.pool.Status() {
		gauge(descUp, number(u.State == StateUp || u.State == StateBusy), u.URL)
		for _, state := range States {
			gauge(descState, number(u.State == state), u.URL, string(state))
		}
		gauge(descInFlight, float64(u.LiveInFlight), u.URL, Live.String())
		gauge(descInFlight, float64(u.BatchInFlight), u.URL, Batch.String())
		gauge(descLimit, float64(u.BatchLimit), u.URL)
		gauge(descFound, float64(u.Limit), u.URL)
		collectPrefill(&u, gauge)
		collectPrefixes(&u, gauge, counter)
		if u.HasMetrics {
			gauge(descRunning, u.Running, u.URL)
			gauge(descWaiting, u.Waiting, u.URL)
			gauge(descKVCache, u.KVCacheUsage, u.URL)
			counter(descPreempts, int64(u.Preemptions), u.URL)
		}
	}
	m.collectModels(gauge, counter)
	m.collectHits(counter)
	m.pool.collectPrices(gauge)
	counter(descRetries, m.retries.Load())
	m.pool.collectQueues(ch)
	for _, rt := range routes {
		for class := range statusClasses {
			if n := m.routes[rt.index].statuses[class].Load(); n > 0 {
				counter(descLive, n, rt.path, statusClass(class))
			}
		}
	}
	m.durations.Collect(ch)
	m.ttfts.Collect(ch)
	m.models.Collect(ch)
}

func statusClass(class int) string {
	if class == statusClasses-1 {
		return strconv.Itoa(statusClientGone)
	}
	return strconv.Itoa(class+1) + "xx"
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
