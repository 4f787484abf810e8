-- Whether the tables of shipping are in this database, for whoever works in several.
select to_regclass('shipping.shipments') is not null
