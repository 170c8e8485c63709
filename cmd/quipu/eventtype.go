package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/zookeeper"
)

func newEventTypeCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{
		Use:   "event-type",
		Short: "Register and list event types",
		Long: `Registers and lists event types. Events are only accepted of a registered type. A type keeps
its definition for ever: counts that are stored mean what it says.`,
		Example: `  quipu event-type create view --unit ms
  quipu event-type list
  quipu event-type describe view`,
	}
	parent.AddCommand(newEventTypeCreateCommand(s), newEventTypeListCommand(s), newEventTypeDescribeCommand(s))
	return parent
}

// durationFlag is a flag in the notation of the configuration: 120d.
type durationFlag struct{ value *time.Duration }

func (f durationFlag) String() string {
	if f.value == nil {
		return ""
	}
	return config.FormatDuration(*f.value)
}

func (f durationFlag) Type() string { return "duration" }

func (f durationFlag) Set(text string) (err error) {
	*f.value, err = config.ParseDuration(text)
	return err
}

func newEventTypeCreateCommand(s *settings) *cobra.Command {
	t := event.Type{AcceptLate: event.DefaultAcceptLate}
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Register an event type",
		Long: `Registers an event type in ZooKeeper; ingest accepts its events within seconds. NAME is a
lower-case letter and then up to 63 of a-z, 0-9, _, . and -.

To register the same type with the same definition again changes nothing and succeeds; with
another definition it fails.

A type that allows negative weights can undo what was counted, and offers no minimum and
maximum in return.`,
		Example: `  quipu event-type create view --unit ms --description 'a video was watched for so long'
  quipu event-type create like --allow-negative
  quipu event-type create departure --unit min --accept-late 120d`,
		Args: oneArgument("NAME"),
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			t.Name, t.CreatedAt = args[0], time.Now().UTC().Truncate(time.Second)
			if err := t.Validate(); err != nil {
				return &usageError{err}
			}
			return withZooKeeper(c.Context(), cfg, logger(c.ErrOrStderr(), cfg), func(ctx context.Context, zk *zookeeper.Client) error {
				return createEventType(ctx, c.OutOrStdout(), zk, t)
			})
		}),
	}
	c.Flags().StringVar(&t.Unit, "unit", "", "what a value measures: ms, mi; empty if events carry no value")
	c.Flags().StringVar(&t.Description, "description", "", "what an event of this type is, for people")
	c.Flags().BoolVar(&t.AllowNegative, "allow-negative", false, "allow negative weights, which undo")
	c.Flags().Var(durationFlag{&t.AcceptLate}, "accept-late", "how old an event may be when it arrives")
	return c
}

func createEventType(ctx context.Context, out io.Writer, zk *zookeeper.Client, t event.Type) error {
	if _, err := zk.Settings(ctx); err != nil {
		return err
	}
	created, err := zk.CreateEventType(ctx, t)
	if err != nil {
		return err
	}
	if created {
		_, err = fmt.Fprintf(out, "registered the event type %s\n", t.Name)
	} else {
		_, err = fmt.Fprintf(out, "the event type %s is registered already\n", t.Name)
	}
	return err
}

func newEventTypeListCommand(s *settings) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the registered event types",
		Long: `Lists the registered event types by name, each with its unit, whether it allows negative
weights, and how old its events may be.`,
		Example: `  quipu event-type list`,
		Args:    noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return withZooKeeper(c.Context(), cfg, logger(c.ErrOrStderr(), cfg), func(ctx context.Context, zk *zookeeper.Client) error {
				types, err := zk.ListEventTypes(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printTypesJSON(c.OutOrStdout(), types)
				}
				return printTypes(c.OutOrStdout(), types)
			})
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newEventTypeDescribeCommand(s *settings) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "describe NAME",
		Short:   "Show one event type",
		Long:    `Shows everything that is registered of one event type.`,
		Example: `  quipu event-type describe view`,
		Args:    oneArgument("NAME"),
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			return withZooKeeper(c.Context(), cfg, logger(c.ErrOrStderr(), cfg), func(ctx context.Context, zk *zookeeper.Client) error {
				types, err := zk.ListEventTypes(ctx)
				if err != nil {
					return err
				}
				for _, t := range types {
					if t.Name != args[0] {
						continue
					}
					if asJSON {
						return json.NewEncoder(c.OutOrStdout()).Encode(typeJSON(t))
					}
					return describeType(c.OutOrStdout(), t)
				}
				return fmt.Errorf("no event type is named %q", args[0])
			})
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func typeJSON(t event.Type) map[string]any {
	return map[string]any{
		"name": t.Name, "unit": t.Unit, "description": t.Description, "allow_negative": t.AllowNegative,
		"accept_late": config.FormatDuration(t.AcceptLate), "created_at": t.CreatedAt,
	}
}

func printTypesJSON(out io.Writer, types []event.Type) error {
	list := make([]map[string]any, 0, len(types))
	for _, t := range types {
		list = append(list, typeJSON(t))
	}
	return json.NewEncoder(out).Encode(list)
}

func printTypes(out io.Writer, types []event.Type) error {
	rows := [][]string{{"NAME", "UNIT", "NEGATIVE", "ACCEPT LATE", "DESCRIPTION"}}
	for _, t := range types {
		rows = append(rows, []string{t.Name, dash(t.Unit), yesNo(t.AllowNegative), config.FormatDuration(t.AcceptLate), t.Description})
	}
	return printTable(out, rows)
}

func describeType(out io.Writer, t event.Type) error {
	return printTable(out, [][]string{
		{"name", t.Name},
		{"unit", dash(t.Unit)},
		{"description", dash(t.Description)},
		{"negative weights", yesNo(t.AllowNegative)},
		{"accept late", config.FormatDuration(t.AcceptLate)},
		{"registered", t.CreatedAt.Format(time.RFC3339)},
	})
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
