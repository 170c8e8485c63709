// Command mksample makes the sample of package flights and its list of airports from the whole data set, or with -check
// compares what is committed with what it would make. It prints the figures that the package's documents and tests quote.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/quipudb/quipu/load/flights"
)

func main() {
	cache := flag.String("cache", filepath.Join(os.TempDir(), "quipu-flights"), "folder to keep the whole data set in")
	out := flag.String("out", "sample", "folder of flights.csv.zst and airports.csv")
	check := flag.Bool("check", false, "write nothing; fail if the files differ from what would be written")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *cache, *out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "mksample:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cache, out string, check bool) error {
	parquetPath, err := flights.FetchAll(ctx, cache, nil)
	if err != nil {
		return err
	}
	s := newSampler()
	for f, err := range flights.ReadParquet(parquetPath) {
		if err != nil {
			return err
		}
		s.add(f)
	}
	if err := s.verify(); err != nil {
		return err
	}
	sample, err := s.compressed()
	if err != nil {
		return err
	}
	airports, err := reduceAirports(filepath.Join(filepath.Dir(parquetPath), "airports.csv"), s.codes)
	if err != nil {
		return err
	}
	s.print(os.Stdout, len(sample))
	for name, content := range map[string][]byte{"flights.csv.zst": sample, "airports.csv": airports} {
		if err := put(filepath.Join(out, name), content, check); err != nil {
			return err
		}
	}
	return nil
}

func put(path string, content []byte, check bool) error {
	if !check {
		return os.WriteFile(path, content, 0o644)
	}
	committed, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(committed, content) {
		return fmt.Errorf("%s differs from what the data set gives: run go generate", path)
	}
	return nil
}
