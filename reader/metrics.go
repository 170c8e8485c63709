package reader

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/wire"
)

type metrics struct {
	answers       *prometheus.CounterVec   // by call and code
	seconds       *prometheus.HistogramVec // by call
	lookups       *prometheus.HistogramVec // by call to the proxies, or cold
	points        prometheus.Counter
	keys          prometheus.Counter
	age           prometheus.Histogram
	lacking       *prometheus.CounterVec // by call
	stale         prometheus.Counter
	waits         *prometheus.CounterVec // by outcome
	waited        prometheus.Histogram
	questions     prometheus.Gauge
	waiting       prometheus.Gauge
	coldQuestions prometheus.Gauge
	sql           prometheus.Gauge
	refused       *prometheus.CounterVec // by bound
	keptAnswers   *prometheus.CounterVec // by outcome
	keptBytes     prometheus.Gauge
	keptCount     prometheus.Gauge
	keptEvicted   prometheus.Counter
	convoys       prometheus.Counter
	passengers    *prometheus.CounterVec // by outcome
}

func newMetrics(r prometheus.Registerer) *metrics {
	fast := prometheus.ExponentialBuckets(0.0005, 2, 16)
	m := &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_reader_answers_total",
			Help: "Answers by call and problem code (ok when there was none).",
		}, []string{"call", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_reader_answer_seconds", Buckets: fast,
			Help: "Time to an answer, waits left out.",
		}, []string{"call"}),
		lookups: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_reader_lookup_seconds", Buckets: fast,
			Help: "Time of one question to the cluster proxies, or of what one needs of cold storage.",
		}, []string{"call"}),
		points: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_reader_points_total",
			Help: "Values sent, over all answers.",
		}),
		keys: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_reader_keys_total",
			Help: "Keys asked of the cluster proxies.",
		}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "quipu_reader_answer_age_seconds",
			Buckets: []float64{.1, .25, .5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 3600},
			Help:    "How far the as-of of an answer lies behind the clock.",
		}),
		lacking: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_reader_incomplete_answers_total",
			Help: "Answers for which some partition did not answer.",
		}, []string{"call"}),
		stale: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_reader_stale_answers_total",
			Help: "Answers labelled stale.",
		}),
		waits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_reader_waits_total",
			Help: "Waits for freshness by outcome: fresh, expired, failed, gone.",
		}, []string{"outcome"}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "quipu_reader_wait_seconds",
			Buckets: []float64{.05, .1, .25, .5, .75, 1, 1.5, 2, 3, 5, 10, 30},
			Help:    "How long requests waited for freshness.",
		}),
		questions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_reader_questions_in_flight",
			Help: "Questions being answered.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_reader_waits_in_flight",
			Help: "Requests that wait for freshness.",
		}),
		coldQuestions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_reader_cold_questions_in_flight",
			Help: "Questions for which cold storage is being read.",
		}),
		sql: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_reader_sql_in_flight",
			Help: "Requests with SQL of people being answered.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_reader_refused_total",
			Help: "Requests refused because a bound was reached.",
		}, []string{"bound"}),
	}
	m.keptAnswers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quipu_reader_kept_answers_total",
		Help: "Keys of which a finished answer was kept: unchanged, changed or open since, or stale when the shard could not be asked.",
	}, []string{"outcome"})
	m.keptBytes = prometheus.NewGauge(prometheus.GaugeOpts{Name: "quipu_reader_kept_bytes", Help: "What the kept answers take, about."})
	m.keptCount = prometheus.NewGauge(prometheus.GaugeOpts{Name: "quipu_reader_kept_count", Help: "Answers kept."})
	m.keptEvicted = prometheus.NewCounter(prometheus.CounterOpts{Name: "quipu_reader_kept_evictions_total", Help: "Answers dropped for want of room."})
	m.convoys = prometheus.NewCounter(prometheus.CounterOpts{Name: "quipu_reader_convoys_total", Help: "Calls that asked for kept answers of many questions."})
	m.passengers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "quipu_reader_convoy_questions_total", Help: "Questions in such calls: kept, or alone when they had to be asked alone after all.",
	}, []string{"outcome"})
	r.MustRegister(m.convoys, m.passengers, m.keptAnswers, m.keptBytes, m.keptCount, m.keptEvicted)
	r.MustRegister(m.answers, m.seconds, m.lookups, m.points, m.keys, m.age, m.lacking, m.stale, m.waits, m.waited,
		m.questions, m.waiting, m.coldQuestions, m.sql, m.refused)
	return m
}

// answered records the outcome of a request.
func (m *metrics) answered(call string, err error) {
	code := "ok"
	if err != nil {
		code = string(codeOf(err))
	}
	m.answers.WithLabelValues(call, code).Inc()
}

// keptTold records what came of a kept answer.
func (m *metrics) keptTold(outcome string) { m.keptAnswers.WithLabelValues(outcome).Inc() }

// told records what an answer was like.
func (m *metrics) told(call string, p *wire.Provenance, now time.Time) {
	if p.AsOf > 0 {
		m.age.Observe(max(0, float64(now.UnixMilli()-p.AsOf)/1000))
	}
	if p.Stale {
		m.stale.Inc()
	}
	if !complete(p) {
		m.lacking.WithLabelValues(call).Inc()
	}
}
