package scenario_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	watchEvery  = 50 * time.Millisecond // each watched key is asked for so often
	watchWithin = 5 * time.Second       // an answer that takes longer is none
)

// watchedKeys are asked for all the time: busy ones, of both shards.
func watchedKeys() []string {
	return []string{"key-00", "key-01", "key-02", "key-03", "key-04", "key-05", "key-06", "key-07"}
}

// sighting is what became of one question.
type sighting struct {
	key    string
	asked  time.Time
	took   time.Duration
	ok     bool
	stale  bool
	asOf   time.Time
	reason string // why there was no answer
}

// watchers ask for keys all the time and check each answer: it must not hold more than was ever sent, nor less than what was
// acknowledged before the instant that it says it is as of (INV-1, INV-8).
type watchers struct {
	mu   sync.Mutex
	seen []sighting
}

// watch asks until the test ends.
func watch(t *testing.T, reader string, l *ledger) *watchers {
	t.Helper()
	w := &watchers{}
	ctx, cancel := context.WithCancel(context.Background())
	client := &http.Client{Timeout: watchWithin, Transport: &http.Transport{MaxIdleConnsPerHost: len(watchedKeys())}}
	var group sync.WaitGroup
	for _, key := range watchedKeys() {
		l.follow("view", key)
		group.Go(func() {
			ticker := time.NewTicker(watchEvery)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				if wrong := w.ask(client, reader, key, l); wrong != nil {
					t.Error(wrong)
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
		client.CloseIdleConnections()
	})
	return w
}

// ask puts one question and notes what became of it. Its error is a wrong answer.
func (w *watchers) ask(client *http.Client, reader, key string, l *ledger) error {
	s := sighting{key: key, asked: time.Now()}
	var count int64
	count, s.asOf, s.stale, s.reason = tell(client, reader, key)
	s.took, s.ok = time.Since(s.asked), s.reason == ""
	w.mu.Lock()
	w.seen = append(w.seen, s)
	w.mu.Unlock()
	if !s.ok {
		return nil
	}
	if most := l.mostOf("view", key); count > most {
		return fmt.Errorf("an answer holds %d events of %s, of which %d were sent (INV-1)", count, key, most)
	}
	if least := l.acknowledgedBefore("view", key, s.asOf); count < least {
		return fmt.Errorf("an answer as of %v holds %d events of %s, of which %d had been acknowledged by then (INV-8); stale: %v", s.asOf, count, key, least, s.stale)
	}
	return nil
}

// tell asks for the count of all time.
func tell(client *http.Client, reader, key string) (count int64, asOf time.Time, stale bool, reason string) {
	response, err := client.Get(reader + "/v1/stats?" + url.Values{"type": {"view"}, "key": {key}}.Encode())
	if err != nil {
		return 0, asOf, false, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, asOf, false, err.Error()
	}
	var answer struct {
		Value int64     `json:"value"`
		AsOf  time.Time `json:"as_of"`
		Stale bool      `json:"stale"`
	}
	if response.StatusCode != http.StatusOK {
		return 0, asOf, false, fmt.Sprintf("status %d: %s", response.StatusCode, text)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, asOf, false, err.Error()
	}
	return answer.Value, answer.AsOf, answer.Stale, ""
}

// outage is what readers of some keys saw in a stretch of time.
type outage struct {
	asked, answered, stale int
	longest                time.Duration // without an answer to any question about one key
	oldest                 time.Duration // how old an answer was when it came
	slowest                time.Duration
	reasons                map[string]int  // why there was none
	failed                 []time.Duration // when, after the beginning
}

func (o outage) ratio() float64 { return float64(o.answered) / float64(max(o.asked, 1)) }

func (o outage) String() string {
	return fmt.Sprintf("%d of %d questions answered (%.2f%%), %d of them labelled stale, the oldest %v old; slowest %v, longest without an answer %v; not answered: %v %v",
		o.answered, o.asked, 100*o.ratio(), o.stale, o.oldest.Round(time.Millisecond), o.slowest.Round(time.Millisecond), o.longest.Round(time.Millisecond), o.reasons, o.failed[:min(len(o.failed), 10)])
}

// since adds up what was asked after an instant about some keys.
func (w *watchers) since(begin time.Time, keys []string) outage {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := outage{reasons: map[string]int{}}
	last := map[string]time.Time{}
	for _, key := range keys {
		last[key] = begin
	}
	for _, s := range w.seen {
		if s.asked.Before(begin) || !slices.Contains(keys, s.key) {
			continue
		}
		o.asked++
		if !s.ok {
			o.reasons[brief(s.reason)]++
			o.failed = append(o.failed, s.asked.Sub(begin).Round(10*time.Millisecond))
			continue
		}
		o.answered++
		if s.stale {
			o.stale++
		}
		ended := s.asked.Add(s.took)
		if s.asOf.Unix() > 0 { // else nothing was ever counted in its partition
			o.oldest = max(o.oldest, ended.Sub(s.asOf))
		}
		o.slowest = max(o.slowest, s.took)
		o.longest, last[s.key] = max(o.longest, ended.Sub(last[s.key])), ended
	}
	return o
}

func brief(reason string) string {
	const most = 400
	if len(reason) > most {
		return reason[:most]
	}
	return reason
}

// resumed is how long after an instant an answer about each of some keys was as of a later one: so long nothing was counted.
func (w *watchers) resumed(t *testing.T, begin time.Time, keys []string, within time.Duration) time.Duration {
	t.Helper()
	latest := time.Duration(0)
	deadline := time.Now().Add(within)
	for _, key := range keys {
		for {
			found, after := w.firstAsOf(key, begin)
			if found {
				latest = max(latest, after)
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v after %s counts of %s are still from before", time.Since(begin).Round(time.Millisecond), begin.Format("15:04:05.000"), key)
			}
			observe(t, watchEvery)
		}
	}
	return latest
}

func (w *watchers) firstAsOf(key string, begin time.Time) (bool, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if s.key == key && s.ok && s.asOf.After(begin) {
			return true, s.asked.Add(s.took).Sub(begin)
		}
	}
	return false, 0
}
