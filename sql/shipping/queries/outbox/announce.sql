-- Tells what has happened to a shipment, with the shipment as it stands. To be called after everything is written.
-- $1 uuid  shipment   $2 text[]  facts   $3 text[]  the case or party each is about, or null   $4 text  headers, as JSON
select relay.enqueue('shipment', s.shipment_id::text, n.fact, jsonb_build_object(
    'shipment_id', s.shipment_id, 'order_id', s.order_id, 'version', s.version, 'state', s.state,
    'subject', n.subject, 'reason', s.reason,
    'cases', (select coalesce(jsonb_agg(jsonb_build_object(
                  'case', c.case_no, 'carrier', c.carrier, 'tracking_code', c.tracking_code,
                  'tracking_status', c.tracking_status) order by c.case_no), '[]')
              from shipping.cases c where c.shipment_id = s.shipment_id)), headers => $4::jsonb)
from shipping.shipments s, unnest($2::text[], $3::text[]) with ordinality as n (fact, subject, position)
where s.shipment_id = $1
order by n.position
