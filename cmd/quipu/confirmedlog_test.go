package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/quipudb/quipu/zookeeper"
)

// registryStub answers as it is told and counts how often it is asked.
type registryStub struct {
	answers []error
	asked   int
}

func (r *registryStub) EnsureLog(context.Context, string) error {
	r.asked++
	err := r.answers[0]
	r.answers = r.answers[1:]
	return err
}

func TestAConfirmedLogNeedsNoZooKeeper(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	ensure := func(cluster, incarnation string, answers ...error) (int, error) {
		stub := &registryStub{answers: answers}
		c := &confirmedLog{registry: stub, file: file, clusterID: cluster, log: slog.New(slog.DiscardHandler)}
		err := c.EnsureLog(t.Context(), incarnation)
		return stub.asked, err
	}
	other := fmt.Errorf("ensure log: %w", zookeeper.ErrOtherLog)
	if asked, err := ensure("c1", "a", other); asked != 1 || !errors.Is(err, zookeeper.ErrOtherLog) {
		t.Errorf("got %v after %d questions, want the refusal", err, asked)
	}
	if asked, err := ensure("c1", "a", zookeeper.ErrDisconnected, zookeeper.ErrTimeout, nil); asked != 3 || err != nil {
		t.Errorf("got %v after %d questions, want none after the third", err, asked)
	}
	if asked, err := ensure("c1", "a"); asked != 0 || err != nil {
		t.Errorf("got %v after %d questions about a confirmed log, want none", err, asked)
	}
	if asked, err := ensure("c1", "b", other); asked != 1 || !errors.Is(err, zookeeper.ErrOtherLog) {
		t.Errorf("got %v after %d questions about another log, want the refusal", err, asked)
	}
	if asked, err := ensure("c2", "a", other); asked != 1 || !errors.Is(err, zookeeper.ErrOtherLog) {
		t.Errorf("got %v after %d questions about another cluster, want the refusal", err, asked)
	}
}

func TestWaitingForZooKeeperEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &confirmedLog{registry: &registryStub{answers: []error{zookeeper.ErrDisconnected}}, file: filepath.Join(t.TempDir(), "log"), log: slog.New(slog.DiscardHandler)}
	if err := c.EnsureLog(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
}
