package testkit_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/quipudb/quipu/testkit"
)

func TestBinaryIsTheGivenOne(t *testing.T) {
	given := filepath.Join(t.TempDir(), "quipu")
	if err := os.WriteFile(given, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(testkit.BinaryVariable, given)
	if got := testkit.Binary(t); got != given {
		t.Errorf("Binary = %s, want %s", got, given)
	}
	t.Setenv(testkit.BinaryVariable, given+"-that-is-not-there")
	if got, err := testkit.BuildBinary(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("BuildBinary = %s, %v; want an error that the file is missing", got, err)
	}
}
