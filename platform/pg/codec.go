package pg

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// codecs are the conversions of a pool's connections. The schema's enums are
// asked for once a pool, not once a connection.
type codecs struct {
	mu    sync.Mutex
	enums []*pgtype.Type
}

// register is a pool's AfterConnect.
func (c *codecs) register(ctx context.Context, conn *pgx.Conn) error {
	RegisterCodecs(conn.TypeMap())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.enums == nil {
		enums, err := loadEnums(ctx, conn)
		if err != nil {
			return err
		}
		// None in a database that is not migrated yet: ask again then.
		c.enums = enums
	}
	conn.TypeMap().RegisterTypes(c.enums)
	return nil
}

// loadEnums returns the schema's enum types and their arrays.
func loadEnums(ctx context.Context, conn *pgx.Conn) ([]*pgtype.Type, error) {
	rows, err := conn.Query(ctx, `SELECT typname::text, oid, typarray FROM pg_catalog.pg_type
		WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace ORDER BY typname`)
	if err != nil {
		return nil, fmt.Errorf("reading the enum types: %w", err)
	}
	var types []*pgtype.Type
	var name string
	var id, array uint32
	_, err = pgx.ForEachRow(rows, []any{&name, &id, &array}, func() error {
		enum := &pgtype.Type{Name: name, OID: id, Codec: &pgtype.EnumCodec{}}
		types = append(types, enum, &pgtype.Type{Name: "_" + name, OID: array, Codec: &pgtype.ArrayCodec{ElementType: enum}})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the enum types: %w", err)
	}
	return types, nil
}

// RegisterCodecs teaches a type map the conversions every connection of opsdb
// uses: times come back in UTC, as buffered ones are, and uuid.UUID travels in
// binary, alone and in arrays. Pools and Connect have done it already.
func RegisterCodecs(m *pgtype.Map) {
	timestamptz := &pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}}
	m.RegisterType(timestamptz)
	m.RegisterType(&pgtype.Type{Name: "_timestamptz", OID: pgtype.TimestamptzArrayOID, Codec: &pgtype.ArrayCodec{ElementType: timestamptz}})

	// In front of the others: pgx would take a uuid.UUID for a driver.Valuer, by way of text.
	m.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{wrapUUIDEncode}, m.TryWrapEncodePlanFuncs...)
	m.TryWrapScanPlanFuncs = append([]pgtype.TryWrapScanPlanFunc{wrapUUIDScan}, m.TryWrapScanPlanFuncs...)
	id := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}}
	m.RegisterType(id)
	m.RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: id}})
	m.RegisterDefaultPgType(uuid.UUID{}, "uuid")
	m.RegisterDefaultPgType(&uuid.UUID{}, "uuid")
	m.RegisterDefaultPgType([]uuid.UUID{}, "_uuid")
}

// uuidCodec is pgx's codec with uuid.UUID as the value of an untyped scan.
type uuidCodec struct{ pgtype.UUIDCodec }

func (uuidCodec) DecodeValue(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	if src == nil {
		return nil, nil
	}
	var id uuid.UUID
	plan := m.PlanScan(oid, format, &id)
	if plan == nil {
		return nil, fmt.Errorf("no way to read a uuid in format %d", format)
	}
	return id, plan.Scan(src, &id)
}

type uuidValue uuid.UUID

func (v uuidValue) UUIDValue() (pgtype.UUID, error) {
	return pgtype.UUID{Bytes: v, Valid: true}, nil
}

type uuidTarget uuid.UUID

func (t *uuidTarget) ScanUUID(v pgtype.UUID) error {
	if !v.Valid {
		return fmt.Errorf("a uuid is NULL where none may be")
	}
	*t = uuidTarget(v.Bytes)
	return nil
}

type uuidEncodePlan struct{ next pgtype.EncodePlan }

func (p *uuidEncodePlan) SetNext(next pgtype.EncodePlan) { p.next = next }

func (p *uuidEncodePlan) Encode(value any, buf []byte) ([]byte, error) {
	return p.next.Encode(uuidValue(value.(uuid.UUID)), buf)
}

func wrapUUIDEncode(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
	if id, ok := value.(uuid.UUID); ok {
		return &uuidEncodePlan{}, uuidValue(id), true
	}
	return nil, nil, false
}

type uuidScanPlan struct{ next pgtype.ScanPlan }

func (p *uuidScanPlan) SetNext(next pgtype.ScanPlan) { p.next = next }

func (p *uuidScanPlan) Scan(src []byte, target any) error {
	return p.next.Scan(src, (*uuidTarget)(target.(*uuid.UUID)))
}

func wrapUUIDScan(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
	if id, ok := target.(*uuid.UUID); ok {
		return &uuidScanPlan{}, (*uuidTarget)(id), true
	}
	return nil, nil, false
}

var (
	_ pgtype.UUIDValuer  = uuidValue{}
	_ pgtype.UUIDScanner = (*uuidTarget)(nil)
)
