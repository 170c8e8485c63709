package zookeeper

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	connected   prometheus.Gauge
	sessions    prometheus.Counter
	disconnects prometheus.Counter
	calls       *prometheus.CounterVec
	version     prometheus.Gauge
	members     *prometheus.GaugeVec
	readFails   prometheus.Counter
	diskFails   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		connected: f.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_zookeeper_connected", Help: "1 while the session has a live connection.",
		}),
		sessions: f.NewCounter(prometheus.CounterOpts{
			Name: "quipu_zookeeper_sessions_total", Help: "Sessions opened; more than one means that one expired.",
		}),
		disconnects: f.NewCounter(prometheus.CounterOpts{
			Name: "quipu_zookeeper_disconnects_total", Help: "Connections lost.",
		}),
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_zookeeper_calls_total", Help: "Calls by result: ok, lost (retried), timeout, refused.",
		}, []string{"result"}),
		version: f.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_zookeeper_snapshot_version", Help: "Version of the snapshot in use; grows with every change seen.",
		}),
		members: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_zookeeper_members_count", Help: "Members in the snapshot in use.",
		}, []string{"role"}),
		readFails: f.NewCounter(prometheus.CounterOpts{
			Name: "quipu_zookeeper_directory_failures_total", Help: "Reads of the directory that failed or were refused; the last known state stayed in use.",
		}),
		diskFails: f.NewCounter(prometheus.CounterOpts{
			Name: "quipu_zookeeper_snapshot_write_failures_total", Help: "Snapshots that could not be written to disk.",
		}),
	}
}
