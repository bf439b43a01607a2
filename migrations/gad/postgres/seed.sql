-- A small force for trying things out. Every name and number is made up.
-- hashed_password is no hash of anything: nobody can log in with these accounts.

insert into usuarios (id, uuid, dni, nombre, apellido, email, telefono, nivel, hashed_password, verificado, ultimo_acceso) values
  (1, '1cc6234a-282a-5719-bcac-a08374763921', '24118302', 'Graciela', 'Sosa', 'gsosa@gad.example', '+54 11 5555-1037', 'LEVEL_3', '!', true, now() - interval '7 minutes'),
  (2, '26361945-4baf-5b39-9701-eee86b4436e0', '27340915', 'Hernán', 'Ibáñez', 'hibanez@gad.example', '+54 11 5555-1074', 'LEVEL_3', '!', true, now() - interval '14 minutes'),
  (3, '98bc14b2-aded-5ac6-8299-3278b87d7cc7', '29455781', 'Marcela', 'Quiroga', 'mquiroga@gad.example', '+54 11 5555-1111', 'LEVEL_2', '!', true, now() - interval '21 minutes'),
  (4, '13161d6b-0386-52c5-aa55-c664880b8582', '31208844', 'Diego', 'Fernández', 'dfernandez@gad.example', '+54 11 5555-1148', 'LEVEL_1', '!', true, now() - interval '28 minutes'),
  (5, 'e15e5aa8-ec30-5b1a-9cc2-97677a9232f5', '33510127', 'Lucía', 'Ramírez', 'lramirez@gad.example', '+54 11 5555-1185', 'LEVEL_1', '!', true, now() - interval '35 minutes'),
  (6, 'ee621e3d-ef84-5335-96a6-ce4b0e05a2b7', '30977450', 'Óscar', 'Benítez', 'obenitez@gad.example', '+54 11 5555-1222', 'LEVEL_2', '!', true, now() - interval '42 minutes'),
  (7, '6d5030ad-f407-5774-80bb-ca7c2bc3b679', '34661209', 'Julián', 'Peralta', 'jperalta@gad.example', '+54 11 5555-1259', 'LEVEL_1', '!', true, now() - interval '49 minutes'),
  (8, 'bbd8ad30-5732-5356-bcf4-1b9b16a6c3cb', '35120988', 'Camila', 'Acosta', 'cacosta@gad.example', '+54 11 5555-1296', 'LEVEL_1', '!', true, now() - interval '56 minutes'),
  (9, 'e276ec39-c472-5fbe-af89-4f57acb43e9f', '28806543', 'Raúl', 'Muñoz', 'rmunoz@gad.example', '+54 11 5555-1333', 'LEVEL_2', '!', true, now() - interval '63 minutes'),
  (10, 'f19ad5f3-bb26-5732-a0fe-3918c80e5d95', '36004417', 'Nadia', 'Villalba', 'nvillalba@gad.example', '+54 11 5555-1370', 'LEVEL_1', '!', true, now() - interval '70 minutes'),
  (11, 'bb323cb2-94e9-5e41-bf16-ca8bb1be20b6', '32745610', 'Tomás', 'Echeverría', 'techeverria@gad.example', '+54 11 5555-1407', 'LEVEL_1', '!', true, now() - interval '77 minutes'),
  (12, '6ec8bdfc-3513-5b6e-8376-8d4d27ac8c04', '37219056', 'Sofía', 'Ledesma', 'sledesma@gad.example', '+54 11 5555-1444', 'LEVEL_1', '!', true, now() - interval '84 minutes');

insert into efectivos (id, uuid, usuario_id, codigo_interno, rango, unidad, especialidad, estado_disponibilidad, ultima_actualizacion_estado, metadata, lat, lon) values
  (1, 'd82939e8-233a-5664-8aa9-afbea68ac763', 3, 'N-01', 'Sargento', 'Comando Norte', 'Patrulla motorizada', 'EN_TAREA', now() - interval '20 minutes', '{"radio":"canal 1"}', -34.5461, -58.4567),
  (2, '039aba81-1479-58c6-afad-652c33963e25', 4, 'N-02', 'Cabo', 'Comando Norte', 'Patrulla a pie', 'DISPONIBLE', now() - interval '23 minutes', '{"radio":"canal 2"}', -34.5532, -58.4613),
  (3, 'a9bd7794-1863-59d6-8fc8-f6a2c8a00646', 5, 'N-03', 'Agente', 'Comando Norte', 'Drones', 'EN_TAREA', now() - interval '26 minutes', '{"radio":"canal 3"}', -34.562, -58.4489),
  (4, '3998e680-6506-5f64-a468-f5f6651d6647', 6, 'S-01', 'Oficial', 'Comando Sur', 'Investigaciones', 'EN_TAREA', now() - interval '29 minutes', '{"radio":"canal 1"}', -34.6654, -58.3871),
  (5, '58829199-7836-55b0-aa54-c4d7536cbb98', 7, 'S-02', 'Cabo', 'Comando Sur', 'Canes', 'DISPONIBLE', now() - interval '32 minutes', '{"radio":"canal 2"}', -34.6588, -58.3702),
  (6, '9ce5d788-ff2a-5d31-a3e3-c73546f1ac7a', 8, 'S-03', 'Agente', 'Comando Sur', 'Patrulla a pie', 'FUERA_SERVICIO', now() - interval '35 minutes', '{"radio":"canal 3"}', -34.6712, -58.4005),
  (7, '57ed4223-2058-54d6-92de-0f8ccce005d4', 9, 'B-01', 'Sargento', 'Brigada Central', 'Comunicaciones', 'EN_TAREA', now() - interval '38 minutes', '{"radio":"canal 1"}', -34.6037, -58.3816),
  (8, 'b65abaa8-7682-523a-95ce-d1e1cf1cfd5b', 10, 'B-02', 'Agente', 'Brigada Central', 'Vigilancia', 'DISPONIBLE', now() - interval '41 minutes', '{"radio":"canal 2"}', -34.6083, -58.3712),
  (9, 'a17ab916-a20f-5387-b6ae-c6597ece326d', 11, 'B-03', 'Cabo', 'Brigada Central', 'Primeros auxilios', 'DISPONIBLE', now() - interval '44 minutes', '{"radio":"canal 3"}', -34.5998, -58.3899),
  (10, '2ec09d80-ef80-532a-beea-c5ac39c617e7', 12, 'B-04', 'Agente', 'Brigada Central', 'Drones', 'NO_DISPONIBLE', now() - interval '47 minutes', '{"radio":"canal 1"}', -34.6105, -58.396);

-- Task 1 is for whoever tries things out: the simulation leaves it alone.
insert into tareas (id, uuid, codigo, titulo, descripcion, tipo, prioridad, inicio_programado, fin_programado, inicio_real, fin_real, estado, delegado_usuario_id, creado_por_usuario_id, ubicacion_lat, ubicacion_lon, ubicacion_descripcion, efectivos_asignados, notas) values
  (1, '84f37c7a-2676-5c3d-af03-dd6f0ad87b24', 'T-0001', 'Patrullaje del parque Saavedra', 'Recorrida a pie con control de accesos', 'PATRULLAJE', 'HIGH', now() + interval '25 minutes', now() + interval '145 minutes', null, null, 'PROGRAMMED', 3, 1, -34.5506, -58.4824, 'Parque Saavedra', '[1,2]', '[]'),
  (2, 'f6f6acbe-5a0e-5802-a29d-f11e6fda59a5', 'T-0002', 'Vigilancia del depósito de la calle Garay', 'Puesto fijo de noche', 'VIGILANCIA', 'MEDIUM', now() + interval '35 minutes', now() + interval '155 minutes', null, null, 'PROGRAMMED', 6, 2, -34.6262, -58.3925, 'Garay 2100', '[5]', '[]'),
  (3, '737c448b-1bb4-5716-bad6-2cef353ff601', 'T-0003', 'Patrullaje de la costanera norte', 'Móvil 12', 'PATRULLAJE', 'MEDIUM', now() - interval '72 minutes', now() + interval '48 minutes', now() - interval '72 minutes', null, 'IN_PROGRESS', 3, 1, -34.5489, -58.4211, 'Costanera norte', '[1]', '[]'),
  (4, 'eae88a75-1f3b-525b-983d-2ab2b9a548a9', 'T-0004', 'Seguimiento de vehículo robado', 'Utilitario blanco, visto dos veces', 'INVESTIGACION', 'URGENT', now() - interval '76 minutes', now() + interval '44 minutes', now() - interval '76 minutes', null, 'IN_PROGRESS', 6, 2, -34.645, -58.3811, 'Barracas', '[4]', '[]'),
  (5, 'c25ffef2-7f73-5212-bb67-3748d74c8876', 'T-0005', 'Reconocimiento aéreo del predio ferroviario', 'Dos vuelos de 20 minutos', 'VIGILANCIA', 'HIGH', now() - interval '80 minutes', now() + interval '40 minutes', now() - interval '80 minutes', null, 'IN_PROGRESS', 3, 1, -34.584, -58.3746, 'Retiro', '[3]', '[]'),
  (6, '38cb65bd-c9c6-5da9-9cea-9035dedf9a12', 'T-0006', 'Enlace de comunicaciones del operativo central', 'Repetidor portátil', 'INTERVENCION', 'CRITICAL', now() - interval '84 minutes', now() + interval '36 minutes', now() - interval '84 minutes', null, 'IN_PROGRESS', 9, 2, -34.6083, -58.3712, 'Plaza de Mayo', '[7]', '[]'),
  (7, '7994166a-c2c9-5aff-ba9b-e53e8c2da16b', 'T-0007', 'Inventario del equipo de radio', 'Baterías y auriculares', 'ADMINISTRATIVA', 'LOW', now() - interval '88 minutes', now() + interval '32 minutes', now() - interval '88 minutes', null, 'PAUSED', 9, 1, -34.6037, -58.3816, 'Base Brigada Central', '[9]', '[]'),
  (8, '32074aa7-9244-548b-849c-7b469c55faf0', 'T-0008', 'Práctica de primeros auxilios', 'Grupo de ocho', 'ENTRENAMIENTO', 'LOW', now() + interval '95 minutes', now() + interval '215 minutes', null, null, 'PROGRAMMED', 9, 2, -34.6037, -58.3816, 'Base Brigada Central', '[9,8]', '[]'),
  (9, 'b9409538-6534-59dd-9c30-adcc6830978f', 'T-0009', 'Control de ruidos en la zona de bares', 'Con inspección municipal', 'INTERVENCION', 'MEDIUM', now() + interval '105 minutes', now() + interval '225 minutes', null, null, 'PROGRAMMED', 6, 1, -34.6212, -58.3731, 'San Telmo', '[]', '[]'),
  (10, '8481e075-a4b4-5355-949c-f82de79ec4d1', 'T-0010', 'Informe mensual de patrullas', null, 'ADMINISTRATIVA', 'LOW', now() - interval '100 minutes', now() + interval '20 minutes', now() - interval '100 minutes', now() - interval '35 minutes', 'COMPLETED', 3, 2, -34.5461, -58.4567, 'Base Comando Norte', '[2]', '[]'),
  (11, '5235153b-28c5-5daa-b763-0d4e91f454d6', 'T-0011', 'Patrullaje de la estación Constitución', 'Hora pico', 'PATRULLAJE', 'HIGH', now() - interval '104 minutes', now() + interval '16 minutes', now() - interval '104 minutes', now() - interval '22 minutes', 'COMPLETED', 6, 1, -34.6277, -58.3817, 'Constitución', '[4,5]', '[]'),
  (12, '92ca473d-9ff0-5167-9e15-bd35c93bb245', 'T-0012', 'Búsqueda de menor extraviado', 'Resuelta en 40 minutos', 'INTERVENCION', 'CRITICAL', now() - interval '108 minutes', now() + interval '12 minutes', now() - interval '108 minutes', now() - interval '9 minutes', 'COMPLETED', 9, 2, -34.6286, -58.3691, 'Parque Lezama', '[8]', '[]'),
  (13, 'de04a490-9947-5bd7-b974-16f684adf561', 'T-0013', 'Relevamiento de cámaras del barrio', 'Falta la cuadra del mercado', 'INVESTIGACION', 'MEDIUM', now() + interval '145 minutes', now() + interval '265 minutes', null, null, 'CANCELLED', 3, 1, -34.5446, -58.4633, 'Núñez', '[2]', '[]'),
  (14, '5a268b09-6d51-506e-8dad-05607ca76c17', 'T-0014', 'Vigilancia del acto escolar', null, 'VIGILANCIA', 'MEDIUM', now() + interval '155 minutes', now() + interval '275 minutes', null, null, 'PROGRAMMED', 6, 2, -34.6306, -58.4166, 'Boedo', '[6]', '[]'),
  (15, '51fcdce8-592c-53f1-ab64-6feb4e0c4a0e', 'T-0015', 'Entrenamiento de canes', 'Pista cubierta', 'ENTRENAMIENTO', 'MEDIUM', now() + interval '165 minutes', now() + interval '285 minutes', null, null, 'PROGRAMMED', 6, 1, -34.6654, -58.3871, 'Base Comando Sur', '[5]', '[]');

-- The next rows get the numbers after these.
select setval(pg_get_serial_sequence('usuarios', 'id'), (select max(id) from usuarios));
select setval(pg_get_serial_sequence('efectivos', 'id'), (select max(id) from efectivos));
select setval(pg_get_serial_sequence('tareas', 'id'), (select max(id) from tareas));
